"""The components of a diffusers folder, of classes that we choose, each looked over before it is loaded."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.families import denoiser_file
from studio.families.folder import check_whole, read_config, weight_variant

if TYPE_CHECKING:
    from torch import nn

COUNTS = ("num_", "n_", "layers", "depth")  # how settings are called that say how often something is there
MOST, MOST_OF_A_KIND = 10_000_000, 1024  # of any whole number of a model's configuration, and of a count
OLD_NAMES = {"PixArtTransformer2DModel": "Transformer2DModel"}  # classes by what configurations called them once


def load_modules(path: Path, classes: dict[str, Any], dtype: Any, device: Any) -> "dict[str, nn.Module]":
    """The frozen components {name: module} of a diffusers folder, without network; StudioError, naming the file, where one is unusable.

    Of a transformer alone in a file, the others come from the folder beside it.
    """
    alone, path = path, denoiser_file.find_rest(path) or path
    for name, cls in classes.items():
        _look_over(path, name, cls)
    check_whole(path)
    others = {name: cls for name, cls in classes.items() if alone == path or name != "transformer"}
    modules = {name: _load(path / name, cls, dtype) for name, cls in others.items()}
    if alone != path:
        modules["transformer"] = denoiser_file.load(alone, path / "transformer" / "config.json", classes["transformer"])
    for module in modules.values():
        module.to(device=device, dtype=dtype).requires_grad_(False).eval()
    return modules


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
        raise StudioError(f"{folder}: no tokenizer can be made of its files ({_first_line(error)}): fetch the model again") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


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
    _check_values(file, config)


def _check_values(file: Path, config: dict[str, Any]) -> None:
    """StudioError for numbers that no model has, and for kernels from elsewhere, before anything is made after them."""
    for key, value in config.items():
        if isinstance(value, dict):
            _check_values(file, value)
        elif isinstance(value, int) and not isinstance(value, bool):
            most = MOST_OF_A_KIND if key.startswith(COUNTS) or key.endswith(COUNTS) else MOST
            if abs(value) > most and not key.endswith(("timesteps", "theta")):
                raise StudioError(f"{file}: {key[:60]} is {value}, which no model has: fetch the model again")
        elif "attn_implementation" in key and "/" in str(value):
            raise StudioError(f"{file}: {key[:60]} asks for code from elsewhere; such models are never loaded: use another copy")


def _load(folder: Path, cls: Any, dtype: Any) -> "nn.Module":
    variant = weight_variant(folder, _stem(cls))
    options = {"variant": variant, "use_safetensors": True, "local_files_only": True, "output_loading_info": True}
    options["torch_dtype" if _is_diffusers(cls) else "dtype"] = dtype
    try:
        module, told = cls.from_pretrained(folder, **options)
    except Exception as error:  # the libraries raise many kinds; all mean that these files are no whole component
        raise StudioError(f"{folder}: not a whole {cls.__name__} ({_first_line(error)}): fetch the model again") from error
    missing = sorted(told["missing_keys"])
    if missing:
        raise StudioError(f"{folder}: {len(missing)} tensors are missing, first {missing[0]}: fetch the model again")
    return module
