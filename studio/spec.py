"""The one declaration of every setting of a run: form, command line, run folder and export all come from here."""

from typing import Any, Literal

from pydantic import Field, SerializeAsAny, ValidationError, field_validator

from studio import registry
from studio.errors import StudioError
from studio.families.timesteps import Kind
from studio.settings import Settings, explain, setting

SCHEMA = 1
MAX_PROMPT = 2000
Switch = Literal["auto", "on", "off"]
NO_GUIDANCE = 1.0  # the guidance scale at which nothing is added to what the base predicts by itself


class BaseSpec(Settings):
    """Which pretrained model is adapted, and what of its facts is overridden."""

    source: str = setting("starter", "Base model", "starter, starter-pixel, a model folder, or one .safetensors file", advanced=False)
    size_px: int | None = setting(None, "Size", "Training size; empty = the model's own", unit="px", ge=16, le=4096)
    prediction_type: Literal["epsilon", "v_prediction"] | None = setting(
        None, "Prediction type", "What the model predicts; empty = as its files say"
    )


class DataSpec(Settings):
    """How the pictures and captions of a dataset reach the training loop."""

    crops: int = setting(4, "Crops", "Crops kept per picture that is longer than its bucket: more variety from few pictures", ge=1, le=16)
    flip: bool = setting(False, "Mirror", "Also train on mirrored pictures. Leave off where left and right matter: anatomy, text, maps")
    turns: bool = setting(
        False, "Quarter turns", "Also train on pictures turned by 90, 180 and 270°. For views from above and textures alone"
    )
    colour: float = setting(
        0.0,
        "Colour shifts",
        "Also train on copies whose brightness, contrast and saturation differ by up to this share; 0 = off",
        ge=0,
        le=0.5,
    )
    mask_floor: float = setting(
        0.1,
        "Mask floor",
        "Weight of what masks leave out, beside 1 for the rest; 0 = it counts for nothing, 1 = masks are not used",
        ge=0,
        le=1,
    )
    caption_dropout: float | None = setting(
        None,
        "Caption dropout",
        "Share of samples trained without caption, which guidance needs; empty = 0.05 from 20 pictures on",
        needs_text=True,
        ge=0,
        le=1,
    )


class TrainSpec(Settings):
    """The training loop."""

    steps: int = setting(1000, "Steps", "Optimizer steps; a ceiling when early stop is on", advanced=False, ge=1, le=1_000_000)
    batch_size: int = setting(4, "Batch size", "Pictures per optimizer step", ge=1, le=1024)
    micro_batch: int | None = setting(
        None, "Micro-batch", "Pictures per forward pass; empty = the whole batch. Lower = less memory", ge=1, le=1024
    )
    seed: int = setting(0, "Seed", "Same seed, same machine: same adapter", ge=0, le=2**63 - 1)
    warmup_share: float = setting(0.05, "Warm-up", "Share of the steps over which the learning rate rises", ge=0, le=1)
    max_grad_norm: float = setting(1.0, "Gradient clipping", "Largest gradient norm of a step; 0 = off", ge=0, le=1000)
    ema_decay: float = setting(0.99, "EMA decay", "Averages the adapter over about 1/(1-decay) steps; 0 = off", ge=0, lt=1)
    min_snr_gamma: float = setting(5.0, "Min-SNR gamma", "Balances noise levels (Hang 2023); 0 = off, unused by flow models", ge=0, le=100)
    timesteps: Kind = setting(
        "auto",
        "Timesteps",
        "How noise levels are drawn: auto = logit-normal (mostly middle ones) for flow models, else uniform",
    )
    timestep_shift: float | None = setting(
        None, "Timestep shift", "Above 1 = more noise, below = less; empty = as the model's own schedule says", gt=0, le=100
    )
    optimizer: Literal["adamw", "adamw8bit"] = setting(
        "adamw", "Optimizer", "adamw8bit keeps its moments in 8 bits: less memory for full tuning; needs the package bitsandbytes"
    )
    gradient_checkpointing: Switch = setting("auto", "Gradient checkpointing", "Less memory, slower; auto = only where it is needed")
    offload: Switch = setting("auto", "Offload", "Text encoders and VAE leave the GPU after caching; auto = on GPUs", needs_text=True)
    base_bits: Literal["auto", "16", "8", "4"] = setting(
        "auto", "Bits of the base", "8 or 4 = kept quantised (extra quant, on NVIDIA); auto = only where it is needed"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting(
        "auto", "Precision", "Arithmetic of the frozen base; auto = what the device does well"
    )
    recorded: Switch = setting(
        "auto", "Recorded steps", "Steps are started as one piece (CUDA graphs): several times faster; auto = where there is memory for it"
    )
    compile: bool = setting(False, "Compile", "Compile what is recorded: a minute or two first, then faster steps; for runs of many steps")
    snapshot_every: int | None = setting(
        None, "Snapshot every", "Steps between adapters kept for comparing and choosing; empty = 6 per run", ge=1
    )
    snapshot_steps: list[int] = setting([], "Snapshot steps", "Filled in when the run is made: fixed before step 1")
    resume_every: int = setting(50, "Resume point every", "At most this many steps of work are lost in a crash", unit="steps", ge=1)
    early_stop: bool = setting(True, "Early stop", "Stop when held-out loss has clearly turned up twice in a row")

    @field_validator("base_bits", mode="before")
    @classmethod
    def _as_words(cls, bits: Any) -> Any:
        return str(bits) if type(bits) is int else bits


class PreviewSpec(Settings):
    """Pictures drawn while training: base once, adapted at fixed steps, same seeds."""

    every: int | None = setting(None, "Preview every", "Steps between previews; empty = 4 per run, 0 = none", unit="steps", ge=0)
    at_steps: list[int] = setting([], "Preview steps", "Filled in when the run is made: fixed before step 1")
    prompts: list[str] = setting(
        [], "Preview prompts", "Empty = captions of held-out pictures", advanced=False, needs_text=True, max_length=8
    )
    negative: str = setting("", "Negative prompt", "What previews should not show", needs_text=True, max_length=MAX_PROMPT)
    seed: int = setting(7, "Preview seed", "The same noise for every preview of a prompt", ge=0, le=2**63 - 1)
    steps: int = setting(12, "Preview sampling steps", "Denoising steps of a preview", ge=1, le=200)
    guidance: float = setting(3.0, "Preview guidance scale", "How strongly previews follow the prompt", needs_text=True, ge=0, le=50)
    sampler: str = setting("dpm++2m", "Preview sampler", "Which solver draws previews")

    @field_validator("prompts")
    @classmethod
    def _printable(cls, prompts: list[str]) -> list[str]:
        return [clean_prompt(p) for p in prompts]

    def drawn(self) -> list[tuple[str, int]]:
        """(prompt, seed) of each preview: a prompt that stands there again is drawn from the next seed."""
        return [(prompt, self.seed + self.prompts[:i].count(prompt)) for i, prompt in enumerate(self.prompts)]

    def labels(self) -> list[str]:
        """What each preview is called: its prompt, with the seed where a prompt is drawn several times."""
        return [f"{p} seed {seed}".strip() if self.prompts.count(p) > 1 else p for p, seed in self.drawn()]


class EvaluateSpec(Settings):
    """Held-out loss on fixed noise, paired with the base; measured at every snapshot."""

    num_timesteps: int = setting(
        16, "Timesteps per picture", "Stratified noise levels per held-out picture; 0 = do not evaluate", ge=0, le=256
    )
    max_images: int = setting(
        8, "Pictures", "At most this many held-out pictures, and as many training pictures beside them", ge=1, le=1000
    )


class PriorSpec(Settings):
    """What DreamBooth (Ruiz 2023) learns a subject with: its token, its class, and what keeps the class as the base knows it."""

    class_noun: str = setting(
        "",
        "Class noun",
        "What your pictures show, in one to three words: dog, teapot",
        advanced=False,
        personal=True,
        needs_text=True,
        max_length=80,
    )
    token: str = setting(
        "",
        "Instance token",
        "Stands for this very subject, before the noun; empty = the trigger word, else sks",
        personal=True,
        needs_text=True,
        max_length=80,
    )
    weight: float = setting(0.0, "Prior loss weight", "How firmly the class stays as the base knows it; 0 = off", ge=0, le=100)
    match: Literal["pictures", "outputs"] = setting(
        "pictures",
        "Prior from",
        "pictures = class pictures that the base draws first; outputs = the base's own answers, without class pictures",
    )
    count: int = setting(100, "Class pictures", "How many the base draws, once per dataset, base and class prompt", ge=1, le=10_000)
    prompt: str = setting(
        "", "Class prompt", "What the class pictures show; empty = the class noun", personal=True, needs_text=True, max_length=MAX_PROMPT
    )
    steps: int = setting(20, "Class sampling steps", "Denoising steps of a class picture", ge=1, le=200)
    guidance: float = setting(3.0, "Class guidance scale", "How strongly class pictures follow their prompt", needs_text=True, ge=0, le=50)


class MethodSpec(Settings):
    """What every adaptation method has; a method adds its own settings."""

    kind: str = setting("", "Method", "Adaptation method", advanced=False)


class RunSpec(Settings):
    """A whole run; saved as spec.json with every default resolved."""

    schema_version: Literal[1] = SCHEMA
    name: str = setting("run", "Name", "Shown in lists", advanced=False, min_length=1, max_length=120)
    dataset: str = setting(..., "Dataset", "A dataset of the workspace", advanced=False)
    recipe: str = setting("lora", "Recipe", "Which methods and settings are combined", advanced=False)
    preset: Literal["quick", "balanced", "thorough"] = setting("balanced", "Preset", "How long to train", advanced=False)
    start_from: str | None = setting(None, "Start from", "Where the first weights come from: a copy inside the run's folder")
    start_kind: Literal["run", "file"] = setting("run", "Start kind", "Whether start_from is a run's own adapter or an adapter file")
    base: BaseSpec = BaseSpec()
    methods: list[SerializeAsAny[MethodSpec]] = Field(min_length=1)
    data: DataSpec = DataSpec()
    prior: PriorSpec = PriorSpec()
    train: TrainSpec = TrainSpec()
    preview: PreviewSpec = PreviewSpec()
    evaluate: EvaluateSpec = EvaluateSpec()

    @field_validator("methods", mode="before")
    @classmethod
    def _by_kind(cls, methods: list) -> list:
        if not isinstance(methods, list) or not all(isinstance(m, MethodSpec | dict) for m in methods):
            raise StudioError("a list of methods with their settings is needed")
        return [m if isinstance(m, MethodSpec) else registry.method(str(m.get("kind"))).Spec.model_validate(m) for m in methods]


def clean_prompt(prompt: str) -> str:
    """`prompt` on one line without control characters; StudioError above the length limit."""
    text = " ".join("".join(c if c.isprintable() else " " for c in prompt).split())
    if len(text) > MAX_PROMPT:
        raise StudioError(f"prompt: {len(text)} characters, at most {MAX_PROMPT} are read: shorten it")
    return text


def fixed_steps(every: int | None, steps: int, parts: int) -> list[int]:
    """The multiples of `every` up to `steps`, the last step always included; None = `parts` equal parts, 0 = none."""
    if every == 0:
        return []
    wanted = range(every, steps + 1, every) if every else (round(steps * i / parts) for i in range(1, parts))
    return sorted({*wanted, steps} - {0})


def validate(values: dict) -> RunSpec:
    """A RunSpec from plain values; StudioError naming the first wrong setting in one line."""
    try:
        return RunSpec.model_validate(values)
    except ValidationError as error:
        raise StudioError(explain(error)) from None
