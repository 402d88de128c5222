"""What a base-model family is to the rest of the studio; a family is a module with these names."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from torch import Tensor, nn

Cond = dict[str, "Tensor"]  # one caption: embeds [L, D], and pooled [P] or mask [L] where the family has them


@dataclass(frozen=True)
class Card:
    """Facts of a family that need no weights."""

    key: str
    title: str
    licence: str
    denoiser: str  # name of the component that is adapted
    text_encoders: tuple[str, ...]
    targets: dict[str, tuple[str, ...]]  # group -> suffixes of denoiser modules an adapter may sit on
    te_targets: tuple[str, ...]
    export_layouts: tuple[str, ...]  # of adapters; first = recommended
    samplers: dict[str, tuple[str, dict[str, Any]]]  # name -> scheduler class and its options
    train_guidance: float | None = None  # guidance input of the denoiser while training, where it has one
    text: bool = True
    model_layouts: tuple[str, ...] = ("model",)  # of whole tuned models


@dataclass
class Facts:
    """What a checkpoint says about itself; a person may override it."""

    size_px: int
    pixel_multiple: int
    vae_scale: int
    prediction_type: str
    num_train_timesteps: int
    title: str = ""
    licence: str = ""


@dataclass
class Parts:
    """A loaded base model: modules by component name, frozen and in eval mode."""

    modules: dict[str, "nn.Module"]
    tokenizers: dict[str, Any]
    scheduler: Any
    facts: Facts
    device: Any
    dtype: Any
    source: Path
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Latent:
    """The VAE posterior of pictures: mean and std [B, C, h, w], already in the denoiser's scale; std None = a point."""

    mean: "Tensor"
    std: "Tensor | None"


class Family(Protocol):
    """One file per base-model family; torch is imported inside functions."""

    card: Card

    def recognise(self, path: Path) -> bool: ...
    def load(self, path: Path, dtype: Any, device: Any) -> Parts: ...
    def encode_image(self, parts: Parts, px: "Tensor") -> Latent: ...
    def decode_image(self, parts: Parts, z: "Tensor") -> "Tensor": ...
    def encode_text(self, parts: Parts, captions: list[str]) -> list[Cond]: ...
    def num_tokens(self, parts: Parts, caption: str) -> tuple[int, int]: ...
    def collate(self, conds: list[Cond]) -> Cond: ...
    def sample_t(self, parts: Parts, u: "Tensor", shape: tuple[int, ...]) -> "Tensor": ...
    def add_noise(self, parts: Parts, z: "Tensor", eps: "Tensor", t: "Tensor") -> "Tensor": ...
    def target(self, parts: Parts, z: "Tensor", eps: "Tensor", t: "Tensor") -> "Tensor": ...
    def weight(self, parts: Parts, t: "Tensor", gamma: float) -> "Tensor": ...
    def predict(self, parts: Parts, z_t: "Tensor", t: "Tensor", cond: Cond, geometry: "Tensor | None") -> "Tensor": ...
    def pipeline(self, parts: Parts) -> "DiffusionPipeline": ...
    def export_metadata(self, parts: Parts) -> dict[str, str]: ...
    def checkpoint(self, parts: Parts) -> "dict[str, Tensor]": ...  # the base as one file; where card.model_layouts has "checkpoint"
    def prompt_inputs(self, parts: Parts, cond: Cond, negative: Cond) -> dict[str, "Tensor"]: ...
