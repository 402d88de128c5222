"""What is asked of a drawing, and what each of its pictures is: the one declaration for form, route, resident and PNG. No torch here."""

from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from studio.errors import StudioError, printable
from studio.jobs.draw.sampling import MAX_STRENGTH
from studio.sample.pair import GUIDANCE, Sampling
from studio.settings import Settings, explain, setting
from studio.spec import clean_prompt

MAX_ADAPTERS, MAX_STRENGTHS, MAX_LABEL, MAX_PROMPTS = 4, 16, 80, 4
Strip = Literal["none", "strength", "snapshots", "together"]


class AdapterUse(Settings):
    """One adapter of a drawing: of a run (a snapshot of it, or the chosen one), or a file that was dropped."""

    run: str = setting("", "Run", "Whose adapter", advanced=False, max_length=300)
    snapshot: int | None = setting(None, "Snapshot", "Step; empty = the chosen one", ge=0)
    strength: float = setting(1.0, "Strength", "0 = base, 1 = as trained", advanced=False, ge=-MAX_STRENGTH, le=MAX_STRENGTH)
    file: str | None = setting(None, "File", "A dropped adapter, by its content", pattern=r"^[0-9a-f]{64}\.safetensors$")
    label: str = setting("", "Label", "What the file was called")

    @field_validator("label")
    @classmethod
    def _one_line(cls, label: str) -> str:
        return " ".join(printable(label).split())[:MAX_LABEL]


class DrawRequest(Settings):
    """Everything that the pictures of a drawing depend on."""

    base: str = setting("", "Base model", "Empty = that of the first adapter's run", max_length=4096)
    adapters: list[AdapterUse] = Field([], max_length=MAX_ADAPTERS)
    prompt: str = setting("", "Prompt", "What to draw", advanced=False)
    more_prompts: list[str] = Field([], max_length=MAX_PROMPTS - 1)  # drawn after `prompt`, from the same seeds
    negative: str = setting("", "Negative prompt", "What not to draw", advanced=False)
    seed: int = setting(0, "Seed", "Same seed, same noise", advanced=False, ge=0, le=2**63 - 1)
    steps: int = setting(20, "Steps", "Denoising steps", advanced=False, ge=1, le=500)
    guidance: float = setting(GUIDANCE, "Guidance scale", "How strongly pictures follow the prompt", advanced=False, ge=0, le=50)
    sampler: str = setting("dpm++2m", "Sampler", "Which solver", max_length=40)
    width: int | None = setting(None, "Width", "Empty = the model's own", unit="px", ge=8, le=4096)
    height: int | None = setting(None, "Height", "Empty = the model's own", unit="px", ge=8, le=4096)
    count: int = setting(1, "Count", "Pictures of each kind; seeds count up", advanced=False, ge=1, le=16)
    strip: Strip = setting("none", "Strip", "Each adapter alone, all together, or a row of strengths or snapshots")
    strengths: list[float] = Field([], max_length=MAX_STRENGTHS)

    @field_validator("prompt", "negative")
    @classmethod
    def _printable(cls, prompt: str) -> str:
        return clean_prompt(prompt)

    @field_validator("more_prompts")
    @classmethod
    def _all_printable(cls, prompts: list[str]) -> list[str]:
        return [clean_prompt(prompt) for prompt in prompts]

    @field_validator("strengths")
    @classmethod
    def _bounded(cls, strengths: list[float]) -> list[float]:
        if not all(abs(s) <= MAX_STRENGTH for s in strengths):  # false for what is no number, too
            raise StudioError(f"each must lie between -{MAX_STRENGTH:g} and {MAX_STRENGTH:g}")
        return sorted(dict.fromkeys(s + 0.0 for s in strengths))

    @property
    def prompts(self) -> list[str]:
        """All prompts, in the order of their pictures."""
        return [self.prompt, *self.more_prompts]

    def sampling(self, prompt: str, seed: int, width: int, height: int) -> Sampling:
        """How one of the pictures is sampled."""
        values = {name: getattr(self, name) for name in ("negative", "steps", "guidance", "sampler")}
        return Sampling(**values, prompt=prompt, seed=seed, width=width, height=height)


class Picture(Settings):
    """One picture of a drawing, planned or drawn; `adapter` None on an adapted one = all together."""

    file: str
    kind: Literal["base", "adapted"]
    adapter: int | None = None
    snapshot: int | None = None
    strength: float | None = None
    seed: int
    prompt: str = ""
    label: str = ""
    width: int | None = None
    height: int | None = None


def parse_request(values: Any, prefix: str = "") -> DrawRequest:
    """A DrawRequest from plain values; StudioError naming the first wrong setting."""
    try:
        return DrawRequest.model_validate(values)
    except ValidationError as error:
        raise StudioError(prefix + explain(error)) from None


def weights(request: DrawRequest, picture: Picture) -> list[tuple[int, float]]:
    """(adapter's place in the request, its strength) of every adapter that a picture is drawn with; none for the base."""
    if picture.kind == "base":
        return []
    if picture.adapter is None:
        return [(i, use.strength) for i, use in enumerate(request.adapters)]
    return [(picture.adapter, float(picture.strength or 0.0))]


def picture_settings(request: DrawRequest, picture: Picture, base_sha256: str) -> dict[str, Any]:
    """What is written inside a picture's file: all that is needed to draw it again, but no path of this machine."""
    told = request.model_dump(exclude={"base", "more_prompts"}) | {"prompt": picture.prompt}
    return {"request": told, "picture": picture.model_dump(exclude={"file"}), "base_sha256": base_sha256}
