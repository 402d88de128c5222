"""Model folders and files from outside: looked over before anything in them is loaded."""

import json
import math
import re
from pathlib import Path

from studio.errors import StudioError
from studio.families.header import read_header

PICKLES = {".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle"}
PROGRAMS = {".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".exe"}
OLD_NAMES = {"PixArtTransformer2DModel": "Transformer2DModel"}  # classes by what configurations called them once
UNCHECKED = {"safety_checker", "feature_extractor", "image_encoder", "processor"}  # which training and drawing do without
FLOATS = {"F16", "BF16", "F32", "F64"}
INPAINTING = {5, 8, 9}  # input channels of UNets that also read a mask, a depth map or a picture
COUNTS = ("num_", "n_", "layers", "depth")  # how settings are called that say how often something is there
MOST, MOST_OF_A_KIND, MOST_TIMESTEPS = 10_000_000, 1024, 100_000  # of any whole number of a configuration, of counts, of noise levels
ACTIVE_KEYS = {"auto_map", "trust_remote_code", "auto_mapping", "custom_pipeline"}


def refuse_pickle(path: Path) -> None:
    """StudioError for a file format that can run code when it is opened."""
    if path.suffix.lower() in PICKLES:
        raise StudioError(
            f"{path}: {path.suffix} files can run code when opened and are never loaded: fetch or convert the model as .safetensors"
        )


def check_folder(folder: Path) -> dict:
    """The model_index.json of a diffusers folder that carries no code; StudioError, naming the file, otherwise."""
    index_file = folder / "model_index.json"
    if not index_file.is_file():
        raise StudioError(f"{folder}: {describe_folder(folder)}")
    check_no_code(folder)
    return read_config(index_file)


def check_no_code(folder: Path) -> None:
    """StudioError, naming the file, for a folder that holds a program or asks for one."""
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in PROGRAMS:
            raise StudioError(
                f"{folder}: {file.relative_to(folder)} is a program; folders with code are never loaded: remove it, or use another copy"
            )
        if file.suffix == ".json" and file.name.endswith(("config.json", "model_index.json")):
            _check_config(folder, file)


def _check_config(folder: Path, file: Path) -> None:
    values = read_config(file)
    active = sorted(ACTIVE_KEYS & values.keys())
    if active:
        raise StudioError(
            f"{folder}: {file.relative_to(folder)} asks for code ({active[0]}); such models are never loaded: use another copy"
        )
    if not isinstance(values.get("_class_name", ""), str):
        raise StudioError(f"{folder}: {file.relative_to(folder)} names a custom class; such models are never loaded: use another copy")


def read_config(file: Path) -> dict:
    """A configuration file's values; StudioError naming it where it is damaged."""
    if file.exists() and not file.is_file():  # reading a pipe would never end
        raise StudioError(f"{file} is no file: fetch the model again")
    try:
        values = json.loads(file.read_text("utf-8"), parse_constant=_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise StudioError(f"{file} cannot be read as JSON ({error}): fetch the model again") from None
    if not isinstance(values, dict):
        raise StudioError(f"{file} is not a configuration: fetch the model again")
    return values


def check_values(file: Path, config: dict) -> None:
    """StudioError for numbers that no model has, and for kernels from elsewhere, before anything is made after them."""
    for key, value in config.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                check_values(file, one)
            elif isinstance(one, int) and not isinstance(one, bool) and abs(one) > _most(key):
                raise StudioError(f"{file}: {key[:60]} is {one}, which no model has: fetch the model again")
            elif key == "scaling_factor" and (isinstance(one, str) or not one):
                raise StudioError(f"{file}: {key} is {str(one)[:40]!r}, which no autoencoder has: fetch the model again")
            elif "attn_implementation" in key and "/" in str(one):
                raise StudioError(f"{file}: {key[:60]} asks for code from elsewhere; such models are never loaded: use another copy")


def _most(key: str) -> int:
    """The largest whole number that any model has under this name."""
    if key.endswith("theta"):
        return 10**12
    if key.endswith("timesteps"):
        return MOST_TIMESTEPS
    return MOST_OF_A_KIND if key.startswith(COUNTS) or key.endswith(COUNTS) else MOST


def _constant(name: str) -> float:
    """Infinity, which noise schedules do name; ValueError for what is no number."""
    if name == "NaN":
        raise ValueError("NaN is no setting")
    return float(name)


def component(folder: Path, name: str) -> Path:
    """The folder of a component; of old models whose parts lie side by side, the model's own."""
    return folder / name if (folder / name).is_dir() else folder


def weight_variant(folder: Path, stem: str) -> str | None:
    """Which variant of `stem`.safetensors (single or sharded) a component folder holds: None = plain, or e.g. "fp16".

    StudioError where there is none.
    """
    names = [f.name for f in folder.glob("*.safetensors")]
    if any(n == f"{stem}.safetensors" or n.startswith(f"{stem}-0") for n in names):
        return None
    variants = sorted(n[len(stem) + 1 :].split(".")[0].split("-")[0] for n in names if n.startswith(f"{stem}."))
    if variants:
        return variants[0]
    others = sorted(f.name for f in folder.glob("*") if f.suffix in PICKLES)
    if others:
        refuse_pickle(folder / others[0])
    raise StudioError(f"{folder}: no {stem}.safetensors here: fetch the model again, with its safetensors weights")


def describe_folder(folder: Path) -> str:
    """What a folder without model_index.json is, in words, with the way out: a component, an adapter, or nothing known."""
    if (folder / "adapter_config.json").is_file():
        return "this is an adapter (PEFT), not a base model: give the base model that it was made for, then drop its file on Compare"
    if (folder / "config.json").is_file():
        values = read_config(folder / "config.json")
        names = values.get("architectures")
        kind = values.get("_class_name") or (names[0] if isinstance(names, list) and names else "")
        if isinstance(kind, str) and re.search(r"ControlNet|T2IAdapter|MotionAdapter", kind):
            return f"this is a {kind[:80]}, not a base model: it steers a base model that lies elsewhere: give the one it steers"
        if isinstance(kind, str) and kind:
            return f"this is one component of a model ({kind[:80]}): give the folder that holds model_index.json"
    return "no model_index.json here: point to a diffusers model folder or to one .safetensors file"


def check_whole(folder: Path) -> None:
    """StudioError, naming the file, unless every component that the index of a model folder names is there, whole and fitting."""
    index = check_folder(folder)
    for name, value in index.items():
        if name in UNCHECKED or "/" in name or not isinstance(value, list) or len(value) != 2 or not all(isinstance(v, str) for v in value):
            continue
        _check_component(folder, name, value[1])
    _check_channels(folder)


def check_named(folder: Path, names: tuple[str, ...], optional: frozenset[str] = frozenset()) -> None:
    """StudioError unless the index of a model folder names these components; text encoders with the tokenizer that each has."""
    index = check_folder(folder)
    texts = [name for name in names if name.startswith("text_encoder")]
    for name in (*names, *(name.replace("text_encoder", "tokenizer") for name in texts)):
        value = index.get(name)
        is_there = isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) and v for v in value)
        if not is_there and name.replace("tokenizer", "text_encoder") not in optional:
            raise StudioError(f"{folder / 'model_index.json'}: it names no {name}: fetch the model again, whole")


def _check_component(folder: Path, name: str, kind: str) -> None:
    place = component(folder, name)
    if kind.endswith(("Scheduler", "Tokenizer", "TokenizerFast", "Processor")):
        alone = (folder / "scheduler_config.json").is_file() if name == "scheduler" else False
        if (place == folder and not alone) or not any(place.iterdir()):
            raise StudioError(f"{folder}: {name} ({kind[:80]}) is missing: fetch the whole model again")
        return
    if place == folder and not (folder / "config.json").is_file():
        raise StudioError(f"{folder}: {name} ({kind[:80]}) is missing: fetch the whole model again")
    if not (place / "config.json").is_file():
        raise StudioError(f"{place}: config.json is missing: fetch the model again")
    config = read_config(place / "config.json")
    check_values(place / "config.json", config)
    said = config.get("_class_name", kind)
    if OLD_NAMES.get(said, said) != OLD_NAMES.get(kind, kind):
        told = f"this is {said[:60]}, where {kind[:60]} is needed"
        raise StudioError(f"{place / 'config.json'}: {told}: put the {name} of this very model there")
    if config.get("quantization_config"):
        raise StudioError(f"{place}: its weights are quantised, and cannot be trained on: use the plain bf16 or fp16 version")
    for file in weight_files(place):
        header = read_header(file)
        strange = {dtype for dtype in header.dtypes.values() if dtype not in FLOATS and not dtype.startswith(("I", "U", "BOOL", "F8"))}
        numbers = sum(math.prod(s) for n, s in header.shapes.items() if header.dtypes[n] in FLOATS or header.dtypes[n].startswith("F8"))
        if strange or numbers * 2 < header.num_values:
            stored = ", ".join(sorted(strange or set(header.dtypes.values())))
            raise StudioError(f"{file}: its weights are stored as {stored}, not as F32, BF16 or F16: fetch an unquantised copy")


def weight_files(place: Path) -> list[Path]:
    """The .safetensors files that one component is loaded from; StudioError where they are missing, or a shard of them is."""
    stem = "diffusion_pytorch_model" if any(place.glob("diffusion_pytorch_model*")) else "model"
    variant = weight_variant(place, stem)
    name = f"{stem}.{variant}" if variant else stem
    if (place / f"{name}.safetensors").is_file():
        return [place / f"{name}.safetensors"]
    indices = sorted(place.glob(f"{stem}*.safetensors.index*.json"))
    shards = sorted(place.glob(f"{name}-*-of-*.safetensors")) or sorted(place.glob(f"{stem}-*-of-*.safetensors"))
    wanted = {s.name for s in shards}
    if indices:
        mapped = read_config(indices[0]).get("weight_map")
        wanted = {str(v) for v in mapped.values()} if isinstance(mapped, dict) else set()
    elif shards and (found := re.search(r"-of-(\d{5})", shards[0].name)):
        wanted = {re.sub(r"-\d{5}-of-", f"-{i:05d}-of-", shards[0].name) for i in range(1, min(int(found[1]), 999) + 1)}
    missing = sorted(n for n in wanted if "/" in n or "\\" in n or not (place / n).is_file())
    if missing:
        raise StudioError(f"{place}: {len(missing)} of {len(wanted)} shards are missing, first {missing[0][:120]}: fetch the model again")
    if shards and not indices:
        raise StudioError(f"{place}: {stem}.safetensors.index.json, which says what is in which shard, is missing: fetch the model again")
    return [place / n for n in sorted(wanted)]


def _check_channels(folder: Path) -> None:
    """StudioError where the autoencoder makes other latents than the denoiser reads."""
    vae = _config(folder / "vae")
    latent = vae.get("latent_channels", vae.get("z_dim"))
    for name in ("unet", "transformer"):
        reads = _config(folder / name).get("in_channels")
        if not all(isinstance(n, int) and n > 0 for n in (latent, reads)):
            continue
        if reads == latent or (name == "transformer" and reads == 4 * latent):  # of 2 x 2 positions as one
            continue
        if name == "transformer" and reads > 4 * latent:
            raise StudioError(f"{folder}: this is a fill, depth or other conditioned model ({reads} input channels): use its plain version")
        if name == "unet" and reads in INPAINTING and latent == 4:
            raise StudioError(f"{folder}: this is an inpainting or depth model ({reads} input channels): use its plain version")
        raise StudioError(f"{folder}: its VAE has {latent} latent channels, its {name} reads {reads}: use the VAE that belongs to it")


def _config(place: Path) -> dict:
    return read_config(place / "config.json") if (place / "config.json").is_file() else {}
