"""Base models and captioners on the hub: which files of a repository are taken, and how they are looked over before and after."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from studio import registry
from studio.dataset.captioners.folder import kind_of, open_folder
from studio.dataset.captioners.places import captioners_folder, list_kinds
from studio.errors import StudioError, printable
from studio.families.folder import ACTIVE_KEYS, PICKLES, check_folder, check_whole, read_config
from studio.store import Workspace

TEXTS = {".json", ".txt", ".model", ".md", ".csv", ".jinja"}  # configurations, vocabularies, tags, the card
MAX_FILES, MAX_TEXT_BYTES = 5000, 64 << 20
CODE = (".py", ".so", ".dll", ".dylib", ".sh", ".ipynb", ".exe", ".bat")
WEIGHTS = re.compile(r"(?P<stem>[^.]+)(\.(?P<variant>[\w-]+?))?(-\d{5}-of-\d{5})?\.safetensors")
INDEX = re.compile(r"(?P<stem>[^.]+)(\.(?P<first>[\w-]+))?\.safetensors\.index(\.(?P<variant>[\w-]+))?\.json")
VARIANTS = ("fp16", "bf16", "")  # the first that a component has is taken: half the size, and as good for a frozen base
SPARE_PARTS = {"safety_checker", "image_encoder"}  # of a pipeline, which training and drawing do without


@dataclass(frozen=True)
class HubKind:
    """A kind of folder on the hub."""

    noun: str
    place: Callable[[Workspace], Path]  # where it is put
    choose: Callable[[str, dict[str, int]], list[str]]  # (id, bytes by file) -> the files to fetch; StudioError where it is none for us
    check_configs: Callable[[str, Path], None]  # before any weights are fetched
    check_whole: Callable[[Path], object]  # when all is there


def choose_model(model_id: str, sizes: dict[str, int]) -> list[str]:
    """The files of a diffusers folder that are fetched: configurations, vocabularies, safetensors of one precision.

    StudioError where it is no such folder, or without safetensors.
    """
    check_names(model_id, sizes)
    if "model_index.json" not in sizes:
        raise StudioError(f"{model_id}: {_what_instead(sizes)}: only diffusers folders are fetched by id")
    parts = {str(PurePosixPath(f).parent) for f in sizes if PurePosixPath(f).suffix == ".safetensors"} - {"."} - SPARE_PARTS
    bare = {str(PurePosixPath(f).parent) for f in sizes if PurePosixPath(f).suffix in PICKLES} - parts - {"."}
    if bare - SPARE_PARTS:
        raise StudioError(f"{model_id}: {min(bare - SPARE_PARTS)} has no safetensors, only weights that can run code: use another copy")
    chosen = [f for f in sizes if _is_text(f, sizes[f]) and not f.startswith(tuple(f"{part}/" for part in SPARE_PARTS))]
    return _plain(_one_precision([*chosen, *_weights(sizes, parts)]))


def choose_captioner(model_id: str, sizes: dict[str, int]) -> list[str]:
    """The files of a captioner's folder that are fetched: configurations, vocabularies, tags, safetensors or ONNX weights.

    StudioError where it is none that is known.
    """
    try:
        check_names(model_id, sizes)
    except StudioError as error:
        told = "".join(c for c in model_id.casefold() if c.isalnum())
        known = [each["hub_id"] for each in list_kinds() if each["hub_id"] and each["kind"] in told]
        raise StudioError(f"{error}, as {known[0]}" if known else str(error)) from None
    if "model_index.json" in sizes:
        raise StudioError(f"{model_id}: this is a model that draws, not one that captions: fetch it with models get")
    is_tagger = {"model.onnx", "selected_tags.csv"} <= sizes.keys()
    weights = ["model.onnx"] if is_tagger else _weights(sizes, {"."})
    if not weights:
        refused = sorted(f for f in sizes if PurePosixPath(f).suffix in PICKLES)
        what = (
            f"has only weights that can run code ({refused[0][:100]})" if refused else "has neither .safetensors nor a tagger's model.onnx"
        )
        raise StudioError(f"{model_id}: it {what}: use another copy")
    return _plain(_one_precision([*(f for f in sizes if _is_text(f, sizes[f]) and "/" not in f), *weights]))


def check_names(model_id: str, sizes: dict[str, int]) -> None:
    """StudioError where a repository has too many files, or one that is a program."""
    if len(sizes) > MAX_FILES:
        raise StudioError(f"{model_id}: {len(sizes)} files are more than a model has")
    code = sorted(f for f in sizes if f.lower().endswith(CODE))
    if code:
        raise StudioError(f"{model_id}: {printable(code[0])[:100]} is a program; models with code are never fetched: use another copy")


def _what_instead(sizes: dict[str, int]) -> str:
    """What a repository without model_index.json holds, as far as its names tell."""
    names = {PurePosixPath(f).name for f in sizes}
    if "adapter_config.json" in names or "pytorch_lora_weights.safetensors" in names:
        return "this is an adapter, not a base model; fetch its .safetensors file and drop it on Compare"
    alone = sorted(f for f in sizes if f.endswith((".safetensors", ".gguf")) and "/" not in f)
    if alone and "config.json" not in names:
        return f"it holds single files, such as {printable(alone[0])[:100]}; fetch one into your models folder and add that under Models"
    if "config.json" in names:
        return "no model_index.json is among its files: this is one component, or another kind of network"
    return "no model_index.json is among its files"


def _weights(sizes: Iterable[str], parts: set[str]) -> list[str]:
    return [f for f in sizes if str(PurePosixPath(f).parent) in parts and f.endswith(".safetensors")]


def _one_precision(names: list[str]) -> list[str]:
    """Without the weights, and their indices, of all variants but one in each folder."""
    variants: dict[tuple[str, str], set[str]] = {}
    for name in names:
        if found := _variant(name):
            variants.setdefault(found[:2], set()).add(found[2])
    taken = {place: next((v for v in VARIANTS if v in there), min(there)) for place, there in variants.items()}
    return [n for n in names if (found := _variant(n) or _variant(n, INDEX)) is None or taken.get(found[:2], found[2]) == found[2]]


def _variant(name: str, pattern: re.Pattern[str] = WEIGHTS) -> tuple[str, str, str] | None:
    """(folder, stem, variant) of a file of weights; None for other files."""
    path = PurePosixPath(name)
    found = pattern.fullmatch(path.name)
    return (str(path.parent), found["stem"], found["variant"] or found.groupdict().get("first") or "") if found else None


def _is_text(name: str, size: int) -> bool:
    return PurePosixPath(name).suffix in TEXTS and size <= MAX_TEXT_BYTES


def _plain(names: list[str]) -> list[str]:
    """Those names that lead into the model's own folder, and not deep."""

    def is_plain(name: str) -> bool:
        path = PurePosixPath(name)
        odd = path.is_absolute() or ".." in path.parts or len(path.parts) > 3 or "\\" in name or ":" in name or printable(name) != name
        return not odd and not any(part.startswith(".") for part in path.parts)

    return sorted({name for name in names if is_plain(name)})


def check_model(model_id: str, folder: Path) -> None:
    """StudioError unless the configurations ask for no code and name a pipeline that a family here reads: the class is chosen by us."""
    check_asks_no_code(model_id, folder)
    index = check_folder(folder)
    if not any(registry.family(key).recognise(folder) for key in registry.FAMILIES):
        known = ", ".join(registry.family(k).card.title for k in registry.FAMILIES)
        kind = printable(str(index.get("_class_name")))[:80]
        raise StudioError(f"{model_id}: {kind} is a kind of model that is not known here; known are: {known}")


def check_captioner(model_id: str, folder: Path) -> None:
    """StudioError unless the configurations ask for no code and name a captioner that is known here."""
    check_asks_no_code(model_id, folder)
    if kind_of(folder) is None and not (folder / "selected_tags.csv").is_file():
        try:
            open_folder(folder)  # says what it is instead
        except StudioError as error:
            raise StudioError(str(error).replace(str(folder), model_id, 1)) from None


def check_asks_no_code(model_id: str, folder: Path) -> None:
    """StudioError where a configuration names code of its own."""
    for file in sorted(folder.rglob("*.json")):
        if file.name.endswith(("config.json", "model_index.json")):
            active = sorted(ACTIVE_KEYS & read_config(file).keys())
            if active:
                raise StudioError(f"{model_id}: {file.relative_to(folder)} asks for code ({active[0]}); such models are never fetched")


KINDS = {
    "model": HubKind("model", lambda workspace: workspace.models, choose_model, check_model, check_whole),
    "captioner": HubKind("captioner", captioners_folder, choose_captioner, check_captioner, open_folder),
}
