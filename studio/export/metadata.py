"""What an exported adapter says about itself: counts and settings; a caption, a name or a path only when someone asked for it."""

import json
import re
from dataclasses import dataclass
from typing import Any

from studio import __version__
from studio.families.base import Parts
from studio.settings import Settings
from studio.spec import RunSpec

PRIVATE = {"prompts", "negative", "at_steps", "snapshot_steps"}


@dataclass(frozen=True)
class Shared:
    """What of a personal kind was ticked to go with an export."""

    trigger: str = ""
    run_name: str = ""
    dataset_name: str = ""
    prompts: tuple[str, ...] = ()

    def metadata(self) -> dict[str, str]:
        """For the file: the keys that readers show."""
        told = {"modelspec.trigger_phrase": self.trigger, "modelspec.title": self.run_name, "ss_output_name": self.run_name}
        return {key: value for key, value in told.items() if value}

    def lines(self) -> str:
        """For the card: Markdown list items; code spans keep every character as it is."""
        rows = [("Trigger word", self.trigger), ("Run", self.run_name), ("Dataset", self.dataset_name)]
        rows += [("Prompt", prompt) for prompt in self.prompts]
        return "".join(f"- {label}: {_code(text)}\n" for label, text in rows if text)


def _code(text: str) -> str:
    """`text` as a Markdown code span, whatever backticks are in it."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def settings_of(spec: RunSpec) -> dict[str, Any]:
    """The run's settings without anything a person typed."""
    groups = {g: getattr(spec, g).model_dump(exclude=PRIVATE) for g in ("data", "train")}
    if spec.prior.weight:
        groups["prior"] = spec.prior.model_dump(exclude=_personal(spec.prior))
    methods = [m.model_dump(exclude=_personal(m)) for m in spec.methods]
    return {"recipe": spec.recipe, "preset": spec.preset, "methods": methods, **groups}


def _personal(group: Settings) -> set[str]:
    """Names of the settings that hold something a person typed, or that was taken from their captions."""
    return {name for name, field in type(group).model_fields.items() if (field.json_schema_extra or {}).get("personal")}


def file_metadata(
    spec: RunSpec, parts: Parts, family_says: dict[str, str], method_says: dict[str, str], counts: dict[str, Any], kind: str
) -> dict[str, str]:
    """The `__metadata__` of a safetensors file with what `kind` of adapter, or a "model": modelspec 1.0.1, `ss_*` keys, our own recipe."""
    size = parts.facts.size_px
    kind = kind.replace("_", "-")
    architecture = family_says["modelspec.architecture"]
    told = {
        **family_says,
        **method_says,
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": architecture if kind == "model" else f"{architecture}/{kind}",
        "modelspec.implementation": "diffusers",
        "modelspec.title": f"tuned from {parts.facts.title}" if kind == "model" else f"{kind} for {parts.facts.title}",
        "modelspec.resolution": f"{size}x{size}",
        "modelspec.description": "Made with Domain Studio",
        "ss_resolution": f"({size}, {size})",
        "ss_num_train_images": str(counts["train"]),
        "studio.version": __version__,
        "studio.base_sha256": counts["base"],
        "studio.step": str(counts["step"]),
        "studio.recipe": json.dumps(settings_of(spec), sort_keys=True),
    }
    reads_kohya = any(key.startswith("ss_") for key in family_says)  # where no reader looks for kohya's keys, they only confuse
    return told if reads_kohya else {key: value for key, value in told.items() if not key.startswith("ss_")}


def model_card(spec: RunSpec, parts: Parts, counts: dict[str, Any], verified: str, shared: Shared, kind: str) -> str:
    """The model card (Markdown) of this `kind` of adapter, or of a "model".

    It tells base, data counts, settings, licence, what was verified, and what was ticked to be shared.
    """
    settings = settings_of(spec)
    rows = [("preset", settings["preset"])]
    rows += [(f"method.{k}", v) for m in settings["methods"] for k, v in m.items()]
    rows += [(f"{g}.{k}", v) for g in ("train", "data", "prior") for k, v in settings.get(g, {}).items()]
    table = "\n".join(f"| {k} | {'' if v is None else v} |" for k, v in rows)
    score = counts.get("held_out")
    told = "Nothing was held out, so nothing is claimed about unseen pictures."
    if score:
        change = (1 - 2.718281828459045 ** score["log_ratio"]) * 100
        told = (
            f"Held-out loss against the base (fixed noise): {change:.1f} % lower on {score['num_images']} unseen pictures; "
            f"better on {score['num_better']} of them."
        )
    findings = [f"- {title}: {text}" for title, text in counts.get("findings", [])]
    told += "\n\n" + ("\n".join(findings) or "It was not judged whether it copies trained pictures.")
    others = "".join(f"- Belongs to a {other} file of the same run: take that too, and load both.\n" for other in counts["others"])
    what, title = ("a tuned model", "Model tuned from") if kind == "model" else ("an adapter", f"{kind.replace('_', ' ')} adapter for")
    front = f"---\nlicense_name: {parts.facts.licence}\nmodel_name: {parts.facts.title}, tuned\n---\n\n" if kind == "model" else ""
    return f"""{front}# {title} {parts.facts.title}

- Base model: {parts.facts.title}, {parts.facts.prediction_type}, {parts.facts.size_px} px (SHA-256 of its files `{counts["base"]}`)
- Data: {counts["train"]} pictures to train on, {counts["held_out_images"]} held out
- Step: {counts["step"]} of {spec.train.steps}
- Verified: {verified}
{others}- Licence: {what} follows the licence of its base ({parts.facts.licence}) and of the pictures it was trained on.
{shared.lines()}
{told}

| setting | value |
|---|---|
{table}

Made with Domain Studio {__version__}.
"""
