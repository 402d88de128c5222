"""The components of a diffusers folder, of classes that we choose, each looked over before it is loaded."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError, first_line
from studio.families import assembly, bundled, denoiser_file, piece_models
from studio.families.bundled import CONFIGS
from studio.families.file_layout import Need
from studio.families.folder import OLD_NAMES, check_folder, check_values, check_whole, read_config, weight_variant
from studio.families.header import read_header

if TYPE_CHECKING:
    from torch import nn


def load(
    path: Path, classes: dict[str, Any], tokenizers: dict[str, Any], dtype: Any, device: Any
) -> "tuple[dict[str, nn.Module], dict[str, Any], Path]":
    """(frozen components, tokenizers, the folder with the noise schedule) of a folder, or of a file and what belongs to it.

    Without network; StudioError, naming the file, where one is unusable.
    """
    found = assembly.assemble(path)
    if found is None:
        return load_modules(path, classes, dtype, device), load_tokenizers(path, tokenizers), path
    needs = {need.component: need for need in found.layout.needs} if found.layout else {}
    from_folder = {name: cls for name, cls in classes.items() if name != "transformer" and name not in found.pieces}
    modules = load_modules(found.rest, classes, dtype, device, set(from_folder)) if from_folder else {}
    for name, piece in found.pieces.items():
        config = _piece_config(found, needs[name])
        modules[name] = freeze(piece_models.make(piece, config, classes[name], dtype), device)
    modules["transformer"] = freeze(denoiser_file.load(path, denoiser_config(found), classes["transformer"], dtype), device)
    readers = {}
    for name, cls in tokenizers.items():
        own = next((n.tokenizer[1] for n in needs.values() if n.component in found.pieces and n.tokenizer[0] == name), None)
        readers |= {name: bundled.TOKENIZERS[own]()} if own else load_tokenizers(found.rest, {name: cls})
    return {name: modules[name] for name in classes}, readers, found.folder


def _piece_config(found: "assembly.Assembly", need: Need) -> dict[str, Any]:
    """The published configuration of a piece."""
    return (
        bundled.read(CONFIGS, need.config) if need.config else bundled.read(found.layout.folder(read_header(found.path)), "vae/config.json")
    )


def denoiser_config(found: "assembly.Assembly") -> dict[str, Any]:
    """The transformer's configuration: that of the folder beside it, else the published one with the file's own sizes."""
    if found.rest is None:
        return found.layout.config(read_header(found.path))
    config, text = read_config(found.rest / "transformer" / "config.json"), read_header(found.path).text
    if "guidance_embeds" in config:
        config["guidance_embeds"] = "guidance_in." in text or "guidance_embedder." in text
    return config


def load_modules(path: Path, classes: dict[str, Any], dtype: Any, device: Any, only: set[str] | None = None) -> "dict[str, nn.Module]":
    """The frozen components {name: module} of a diffusers folder, or some of them, all looked over; StudioError where one is unusable."""
    for name, cls in classes.items():
        _look_over(path, name, cls)
    check_whole(path)
    make = _empty if str(device) == "meta" else _load
    return {name: freeze(make(path / name, cls, dtype), device) for name, cls in classes.items() if only is None or name in only}


def freeze(module: "nn.Module", device: Any) -> "nn.Module":
    """The module on the device, in the precision that it was loaded in, and not to be trained."""
    return module.to(device=device).requires_grad_(False).eval()


def has(path: Path, name: str) -> bool:
    """Whether a model has this component, which some of its kind are kept without."""
    found = assembly.assemble(path)
    if found and (name in found.pieces or not found.rest):
        return name in found.pieces
    return check_folder(found.rest if found else path).get(name) not in (None, [None, None])


def load_tokenizers(path: Path, classes: dict[str, Any]) -> dict[str, Any]:
    """The tokenizers {name: tokenizer} of a diffusers folder, of several classes the one it names; StudioError where one cannot be read."""
    return {name: _load_tokenizer(path, name, cls) for name, cls in classes.items()}


def _load_tokenizer(path: Path, name: str, cls: Any) -> Any:
    folder = path / name
    if not folder.is_dir():
        raise StudioError(f"{path}: its folder {name} is missing: fetch the model again, whole")
    if isinstance(cls, tuple):
        said = read_config(folder / "tokenizer_config.json").get("tokenizer_class")
        cls = next((c for c in cls if str(said).removesuffix("Fast") == c.__name__), cls[0])
    try:
        return cls.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library raises many kinds; all mean that these files make no tokenizer
        raise StudioError(f"{folder}: no tokenizer can be made of its files ({first_line(error)}): fetch the model again") from error


def _is_diffusers(cls: Any) -> bool:
    return cls.__module__.startswith("diffusers.")


def _stem(cls: Any) -> str:
    return "diffusion_pytorch_model" if _is_diffusers(cls) else "model"


def _look_over(path: Path, name: str, cls: Any) -> None:
    """StudioError unless the component is there, is of this class, and asks for nothing that no model has."""
    if not (path / name).is_dir():
        raise StudioError(f"{path}: its folder {name} is missing: fetch the model again, whole")
    file = path / name / "config.json"
    config = read_config(file)
    said = config.get("_class_name") if _is_diffusers(cls) else config.get("model_type")
    wanted = cls.__name__ if _is_diffusers(cls) else cls.config_class.model_type
    if said not in (wanted, OLD_NAMES.get(wanted, wanted)):
        told = f"this is {str(said or 'of no class')[:60]}, where {wanted} is needed"
        raise StudioError(f"{file}: {told}: put the {name} of this very model there")
    if config.get("quantization_config"):
        raise StudioError(f"{file}: its weights are quantised, and cannot be trained on: use the plain bf16 or fp16 version")
    check_values(file, config)


def _empty(folder: Path, cls: Any, dtype: Any) -> "nn.Module":
    """The module that a component's configuration describes, without its weights."""
    from accelerate import init_empty_weights

    try:
        with init_empty_weights():
            if _is_diffusers(cls):
                return cls.from_config(read_config(folder / "config.json")).to(dtype)
            return cls(cls.config_class.from_pretrained(folder, local_files_only=True)).to(dtype)
    except Exception as error:  # the libraries raise many kinds; all mean that this is no configuration of such a component
        raise StudioError(f"{folder}: not a {cls.__name__} ({first_line(error)}): fetch the model again") from error


def _load(folder: Path, cls: Any, dtype: Any) -> "nn.Module":
    variant = weight_variant(folder, _stem(cls))
    options = {"variant": variant, "use_safetensors": True, "local_files_only": True, "output_loading_info": True}
    options["torch_dtype" if _is_diffusers(cls) else "dtype"] = dtype
    try:
        module, told = cls.from_pretrained(folder, **options)
    except Exception as error:  # the libraries raise many kinds; all mean that these files are no whole component
        raise StudioError(f"{folder}: not a whole {cls.__name__} ({first_line(error)}): fetch the model again") from error
    missing = sorted(told["missing_keys"])
    if missing:
        raise StudioError(f"{folder}: {len(missing)} tensors are missing, first {missing[0]}: fetch the model again")
    return module
