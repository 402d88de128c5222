"""A base with changed weights as a new model folder, one tensor at a time: memory for a tensor, whatever the size of the model."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.export.whole import make_pipeline, write_configs
from studio.families.base import Parts
from studio.families.folder import component, read_config, weight_files, weight_variant
from studio.families.header import read_header
from studio.store import NUM_BYTES, stream_tensors, write_json

if TYPE_CHECKING:
    from torch import Tensor

    Told = dict[str, tuple[str, tuple[int, ...]]]  # tensor -> (precision as the format names it, shape)

Changes = dict[str, Callable[["Tensor"], "Tensor"]]  # `<component>.<layer>.weight` -> the new one, fp32, of the base's own, fp32
Tell = Callable[[float], None]  # which share is done
NAMES = {"torch.float32": "F32", "torch.float16": "F16", "torch.bfloat16": "BF16", "torch.float64": "F64", "torch.int64": "I64"}
FP8_BECOMES = "BF16"  # of weights that change: their own precision could not hold what is added


@dataclass
class Source:
    """One file of weights to be written, and where its tensors come from."""

    component: str
    place: Path  # of the file in a model folder
    told: "Told"
    read: "Callable[[str], Tensor]"


@dataclass
class Counted:
    """What was changed, and how well the files hold it."""

    changed: int = 0
    tensors: int = 0
    size: float = 0.0  # sum of the squares of all changes
    lost: float = 0.0  # of what rounding has taken of them
    kinds: set[str] = field(default_factory=set)  # precisions of the changed tensors

    @property
    def rounding(self) -> float:
        """|what rounding took| / |the change|."""
        return math.sqrt(self.lost / self.size) if self.size else 0.0


def sources(base: Path, parts: Parts) -> list[Source]:
    """The files of a merged model: those of a folder, or one for each component of a model that is a file."""
    if not base.is_dir():
        return [_of_module(name, module) for name, module in parts.modules.items()]
    return [source for name in parts.modules for source in _of_folder(base, name)]


def num_bytes(found: list[Source]) -> int:
    """About how many bytes the files take."""
    return sum(_size(one) for source in found for one in source.told.values())


def _size(told: tuple[str, tuple[int, ...]]) -> int:
    return NUM_BYTES[told[0]] * math.prod(told[1])


def _of_folder(base: Path, name: str) -> Iterator[Source]:
    """A component's own files, without the mark of a variant in their names."""
    from safetensors import safe_open

    place = component(base, name)
    stem = "diffusion_pytorch_model" if any(place.glob("diffusion_pytorch_model*")) else "model"
    variant = weight_variant(place, stem)
    for file in weight_files(place):
        header = read_header(file)
        plain = file.name.replace(f".{variant}", "", 1) if variant else file.name
        told = {key: (header.dtypes[key], shape) for key, shape in header.shapes.items()}
        yield Source(name, Path(name) / plain, told, lambda key, file=file: safe_open(file, "pt").get_tensor(key))


def _of_module(name: str, module: Any) -> Source:
    """A component that is in memory, or mapped into it."""
    state = module.state_dict()
    stem = "diffusion_pytorch_model" if type(module).__module__.startswith("diffusers.") else "model"
    told = {key: (NAMES[str(value.dtype)], tuple(value.shape)) for key, value in state.items()}
    return Source(name, Path(name) / f"{stem}.safetensors", told, state.__getitem__)


def write_merged(family: ModuleType, parts: Parts, found: list[Source], changes: Changes, target: Path, tell: Tell) -> Counted:
    """Write the folder; StudioError where a changed weight is no number, or a change finds no tensor."""
    lacking = changes.keys() - {_ours(source, key) for source in found for key in source.told}
    if lacking:
        raise StudioError(
            f"merge: {len(lacking)} of {len(changes)} changed weights are not in the base's files, first {min(lacking)}: use another copy"
        )
    target.mkdir(parents=True)
    write_configs(make_pipeline(family, parts), target)
    counted, done, total = Counted(), 0, max(1, num_bytes(found))
    for source in found:
        told = {key: _told_new(source, key, value, changes) for key, value in source.told.items()}

        def read(key: str, source: Source = source, told: "Told" = told) -> "Tensor":
            nonlocal done
            done += _size(source.told[key])
            tell(done / total)
            own = source.read(key)
            name = _ours(source, key)
            counted.tensors += 1
            return _new(own, changes[name], told[key][0], name, counted) if name in changes else own

        stream_tensors(target / source.place, told, read, {"format": "pt"})
    _write_indices(found, target)
    return counted


def _ours(source: Source, key: str) -> str:
    """What a tensor of a file is called here; transformers has dropped `text_model.` from some text encoders, files may have it or not."""
    return (
        f"{source.component}.{key.removeprefix('text_model.')}"
        if source.component.startswith("text_encoder")
        else f"{source.component}.{key}"
    )


def named(component_name: str, layer: str, part: str) -> str:
    """The name of a layer's tensor among `Changes`."""
    return f"{component_name}.{layer.removeprefix('text_model.') if component_name.startswith('text_encoder') else layer}.{part}"


def _told_new(source: Source, key: str, value: tuple[str, tuple[int, ...]], changes: Changes) -> tuple[str, tuple[int, ...]]:
    return (FP8_BECOMES, value[1]) if value[0].startswith("F8") and _ours(source, key) in changes else value


def _new(own: "Tensor", change: "Callable[[Tensor], Tensor]", dtype: str, name: str, counted: Counted | None = None) -> "Tensor":
    """A tensor as it is written; StudioError where it is no number. `counted`: how well it holds what was added goes there."""
    import torch

    before = own.float()
    after = change(before)
    kept = after.to({"F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}.get(dtype, torch.float32))
    if not bool(kept.isfinite().all()):
        raise StudioError(f"layer {name}: merged, its weights are no numbers: lower the strength")
    if counted:
        counted.changed += 1
        counted.kinds.add(dtype)
        counted.size += float(torch.linalg.vector_norm(before.sub_(after) if before is not own else before - after)) ** 2
        counted.lost += float(torch.linalg.vector_norm(after.sub_(kept))) ** 2 if kept is not after else 0.0
    return kept


def compare_tensors(found: list[Source], changes: Changes, target: Path, tell: Tell) -> tuple[int, int]:
    """(changed tensors, all tensors) that came back from the folder as they should be; StudioError naming the first that did not."""
    from safetensors import safe_open

    done, total, changed, same = 0, max(1, num_bytes(found)), 0, 0
    for source in found:
        with safe_open(target / source.place, "pt") as file:
            names = set(file.keys())
            for key, (dtype, shape) in source.told.items():
                done += _size((dtype, shape))
                tell(done / total)
                own, name = source.read(key), _ours(source, key)
                if name in changes:
                    own = _new(own, changes[name], FP8_BECOMES if dtype.startswith("F8") else dtype, name)
                    changed += 1
                came = file.get_tensor(key) if key in names else None
                if came is None or came.dtype != own.dtype or came.shape != own.shape or not _equal(came, own):
                    raise StudioError(
                        f"merge: {source.place}: {key[:120]} did not come back as it was written; it was not kept. Is the disk sound?"
                    )
                same += 1
    return changed, same


def _equal(a: "Tensor", b: "Tensor") -> bool:
    """Whether two tensors of one precision and shape have the same bytes."""
    import torch

    flat = [t.contiguous().reshape(-1).view(torch.uint8) for t in (a, b)]
    return bool(torch.equal(*flat))


def _write_indices(found: list[Source], target: Path) -> None:
    """The list of which tensor is in which file, of components in several."""
    for name in dict.fromkeys(source.component for source in found):
        own = [source for source in found if source.component == name]
        if len(own) > 1:
            stem = own[0].place.name.partition("-0")[0]
            told = {"metadata": {"total_size": num_bytes(own)}, "weight_map": {k: s.place.name for s in own for k in sorted(s.told)}}
            write_json(target / name / f"{stem}.safetensors.index.json", told)


def check_structure(family: ModuleType, parts: Parts, target: Path) -> None:
    """StudioError unless the folder has every tensor that diffusers' class of the denoiser asks for, in its shape; no weights are read."""
    name = family.card.denoiser
    read_config(target / name / "config.json")
    there = {key: shape for file in weight_files(target / name) for key, shape in read_header(file).shapes.items()}
    wanted = {key: tuple(value.shape) for key, value in parts.modules[name].state_dict().items()}
    wrong = next((key for key, shape in wanted.items() if there.get(key) != shape), None)
    if wrong:
        raise StudioError(f"merge: {wrong[:120]} of the {name} is not there as diffusers asks for it: use another copy of the base")
