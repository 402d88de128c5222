"""Full fine-tuning: every weight of the denoiser goes on from where its pretraining ended (Ho 2020; Rombach 2022)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families.base import Card, Parts
from studio.models.sizes import Sizes
from studio.settings import setting
from studio.spec import MethodSpec

if TYPE_CHECKING:
    from torch import Tensor

    from studio.methods.whole import Whole

keeps_every_snapshot = False  # each is a whole denoiser: the best and the last stay


class Spec(MethodSpec):
    """Settings of full fine-tuning."""

    kind: str = "full"
    lr: float = setting(1e-5, "Learning rate", "Step size; lower it when pictures break, raise it when nothing changes", gt=0, le=1)


def supports(card: Card) -> str | None:
    """Every family can be tuned whole."""
    return None


def live(spec: Spec) -> frozenset[str]:
    """No text encoder takes part."""
    return frozenset()


def trained(spec: Spec, sizes: Sizes) -> float:
    """How many numbers are trained: all of the denoiser's."""
    return sizes.denoiser


def batchable(spec: Spec) -> bool:
    """Base and tuned are two models: they take a pass each."""
    return False


def metadata(spec: Spec) -> dict[str, str]:
    """A whole model needs no key of its own."""
    return {}


def adopt(spec: Spec, about: dict[str, Any], captions: list[str], name: str) -> Spec:
    """A dataset decides nothing about it."""
    return spec


def reword(spec: Spec, caption: str) -> str:
    """Captions stay as they are."""
    return caption


def layouts(card: Card) -> tuple[str, ...]:
    """A whole model in every layout of its family; a LoRA of the difference where the family has one."""
    return (*card.model_layouts, *(["extracted"] if card.export_layouts[0] != "peft" else []))


def word(spec: Spec) -> str:
    """It needs no word of its own."""
    return ""


def export(state: "dict[str, Tensor]", spec: Spec, layout: str, card: Card) -> "dict[str, Tensor]":
    """Nothing: what it learned is a whole model, written as one. StudioError, saying so."""
    raise StudioError(f"--format {layout}: full tuning makes a whole model, and no adapter file")


def peft_configs(state: "dict[str, Tensor]", spec: Spec) -> dict[str, dict[str, Any]]:
    """None: this is no PEFT method."""
    return {}


def describe(path: Path, card: Card) -> dict[str, Any]:
    """StudioError: no file of its own can be continued from."""
    raise StudioError(
        f"{path}: full tuning continues from a run; a tuned model that was exported is a base of its own: choose it as --base"
    )


def attach(parts: Parts, spec: Spec, card: Card, seed: int) -> "Whole":
    """Make the denoiser's weights trainable, in fp32; what they were is kept beside them."""
    from studio.methods.whole import Whole

    return Whole(parts, card.denoiser, spec.lr)
