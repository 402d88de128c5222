"""What a base-model family is to the rest of the studio; a family is a module with these names."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from studio.families.file_layout import FileLayout
from studio.families.timesteps import AUTO, Timesteps

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from torch import Generator, Tensor, nn

FLOW = "flow"  # the prediction type of rectified flow: v = eps - z
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
    export_note: str = ""  # what people should know about adapters in its export_layouts
    kohya_name: Callable[[str], str] | None = None  # `<component>.<layer>` -> what kohya's files call it, where they know the family
    presets: str = ""  # the family whose presets of a recipe hold for this one too, where the recipe has none of its own
    words: dict[str, str] = field(default_factory=dict)  # text encoder -> what files of learned words call its vectors
    readers: str = ""  # which programs read its recommended adapter layout, where not those that the layout says by itself
    timesteps: str = "uniform"  # the density of the noise levels that training draws
    patch: int = 1  # positions of the autoencoder per side of a token
    file_shape_px: tuple[int, int] = (512, 64)  # picture size and what its sides divide by, of a checkpoint file, which does not say
    file_px_by_tensor: dict[str, int] = field(default_factory=dict)  # prefix of tensors -> picture size, of files with such tensors
    guidance: float | None = None  # the guidance scale that pictures are drawn with unless told otherwise; None = the usual one
    negative: bool = True  # whether a negative prompt means anything
    file: FileLayout | None = None  # how its models are kept as files, where not only as folders
    titles: tuple[str, ...] = ()  # what files with its denoiser are called in `signs`, where other parts of it lie elsewhere
    completed_by: str = ""  # id of a folder on the hub with all that its files lack, where nothing else completes them
    refuses: dict[str, str] = field(default_factory=dict)  # method -> why the family cannot take it, in a sentence


@dataclass
class Facts:
    """What a checkpoint says about itself; a person may override it."""

    size_px: int
    pixel_multiple: int
    vae_scale: int  # pixels per latent position; 1 = the denoiser works on the pixels themselves
    latent_channels: int
    prediction_type: str  # epsilon, v_prediction, or FLOW
    num_train_timesteps: int
    draw_multiple: int = 0  # what the sides of a drawn picture must divide by, px; 0 = vae_scale
    title: str = ""
    licence: str = ""
    note: str = ""  # what a person should know before training on it

    def told_to_schedulers(self) -> dict[str, str]:
        """What a scheduler must be told of the prediction type: nothing of a flow, for flow schedulers know no other."""
        return {} if self.prediction_type == FLOW else {"prediction_type": self.prediction_type}


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
    host: Any = None  # where components wait that are not needed now; None = all stay on the device
    bits: int = 16  # of the denoiser's linear layers; 16 = in `dtype`
    kept: frozenset[str] = frozenset()  # components that stay on the device once they were needed
    resting: frozenset[str] = frozenset()  # components that compute where the others wait, for the device is too small for them

    def need(self, *names: str) -> None:
        """Have these components on the device, and, where the others are to wait elsewhere, those there."""
        if self.host is None:
            return
        for name, module in self.modules.items():
            if name not in names and name not in self.kept:
                module.to(self.host)
        for name in names:
            if name in self.modules and name not in self.resting:
                self.modules[name].to(self.device)

    def at(self, *names: str) -> "Parts":
        """The same as these components see it: on the device, or where those wait that compute there."""
        return replace(self, device=self.host) if self.host is not None and self.resting.issuperset(names) else self

    def place(self, cond: Cond) -> Cond:
        """A batch of text embeddings on the device, in the denoiser's precision: encoders, and learned words, may have one of their own."""
        return {name: v.to(self.device, self.dtype if v.is_floating_point() else None) for name, v in cond.items()}

    def gather(self) -> None:
        """Have all components in one place for good: where they wait, if they do."""
        if self.host is not None:
            self.device = self.host
            self.settle()

    def settle(self) -> None:
        """Have all components on the device for good."""
        self.host = None
        for module in self.modules.values():
            module.to(self.device)


@dataclass
class Latent:
    """The VAE posterior of pictures: mean and std [B, C, h, w], already in the denoiser's scale; std None = a point."""

    mean: "Tensor"
    std: "Tensor | None"


@dataclass
class Denoising:
    """How a batch is drawn: the solver, its noise, and what goes on beside it."""

    scheduler: Any
    noise: "Tensor"  # [B, C, h, w], standard normal, on the device
    steps: int
    guidance: float
    generators: "list[Generator]"  # one per picture, past its noise: what a stochastic solver draws from
    tick: Callable[[], None]  # called after each step


def stacked(conds: list[Cond]) -> Cond:
    """A batch {name: [B, …]} of captions that are all of one length: `Family.collate` where texts are padded when they are encoded."""
    import torch

    return {name: torch.stack([c[name] for c in conds]) for name in conds[0]}


class Family(Protocol):
    """One file per base-model family; torch is imported inside functions."""

    card: Card

    def recognise(self, path: Path) -> bool: ...
    def load(self, path: Path, dtype: Any, device: Any) -> Parts: ...
    def encode_image(self, parts: Parts, px: "Tensor") -> Latent: ...
    def decode_image(self, parts: Parts, z: "Tensor") -> "Tensor": ...
    def encode_text(self, parts: Parts, captions: list[str]) -> list[Cond]: ...
    def encode_negative(self, parts: Parts, captions: list[str]) -> list[Cond]: ...  # may lack: as encode_text
    def num_tokens(self, parts: Parts, caption: str) -> tuple[int, int]: ...
    def collate(self, conds: list[Cond]) -> Cond: ...
    def sample_t(self, parts: Parts, u: "Tensor", shape: tuple[int, ...], how: Timesteps = AUTO) -> "Tensor": ...
    def add_noise(self, parts: Parts, z: "Tensor", eps: "Tensor", t: "Tensor") -> "Tensor": ...
    def target(self, parts: Parts, z: "Tensor", eps: "Tensor", t: "Tensor") -> "Tensor": ...
    def weight(self, parts: Parts, t: "Tensor", gamma: float) -> "Tensor": ...
    def predict(self, parts: Parts, z_t: "Tensor", t: "Tensor", cond: Cond, geometry: "Tensor | None") -> "Tensor": ...
    def pipeline(self, parts: Parts) -> "DiffusionPipeline": ...
    def export_metadata(self, parts: Parts) -> dict[str, str]: ...
    def checkpoint(self, parts: Parts) -> "dict[str, Tensor]": ...  # the base as one file; where card.model_layouts has "checkpoint"
    def denoise(self, parts: Parts, cond: Cond, negative: Cond, how: Denoising) -> "Tensor": ...


def card_of(family: Any, parts: Parts) -> Card:
    """The card of a family for this very base: its own, unless it says that it depends on the base."""
    return family.card_of(parts) if hasattr(family, "card_of") else family.card
