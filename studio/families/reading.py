"""What a base reads of a caption, told by its tokenizer and configurations alone: no weights are loaded, and for most bases no torch."""

import re
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from studio.errors import StudioError
from studio.families import assembly, bundled, components
from studio.families.base import Parts
from studio.families.configured import configuration
from studio.families.folder import check_folder
from studio.store import ASSETS

KNOWN = ("CLIPTokenizer", "T5Tokenizer", "Qwen2Tokenizer", "GemmaTokenizer")  # classes that we choose among
FILE_CONFIGS = ASSETS / "configs" / "sd15"  # of CLIP, which Stable Diffusion's checkpoint files read with


@dataclass(frozen=True)
class Reader:
    """A base as far as it reads captions."""

    family: ModuleType
    parts: Parts

    @property
    def limit(self) -> int:
        """Tokens that it reads, marks of begin and end included."""
        return self.family.num_tokens(self.parts, "")[1]

    def end(self, caption: str) -> int | None:
        """Where it stops reading, in characters; None where it reads the whole caption."""
        read, rest = cut(self.family, self.parts, caption)
        return len(read) if rest else None


def open_reader(family: ModuleType, path: Path) -> Reader:
    """The base at `path` without its weights; StudioError, naming the file, where it has no tokenizer that can be read."""
    found = assembly.assemble(path)
    folder = path if path.is_dir() else found.rest if found else FILE_CONFIGS
    names = (*family.card.text_encoders, family.card.denoiser)
    configs: dict[str, Any] = {}
    tokenizers: dict[str, Any] = {}
    if folder:
        tokenizers = components.load_tokenizers(folder, _classes(folder))
        configs = {name: configuration(folder / name / "config.json") for name in names if (folder / name).is_dir()}
    if found:
        needs = found.layout.needs if found.layout else ()
        own = [need.tokenizer for need in needs if need.tokenizer and need.component in found.pieces]
        tokenizers |= {name: bundled.TOKENIZERS[kind]() for name, kind in own}
        configs["transformer"] = components.denoiser_config(found)
    modules: dict[str, Any] = {name: SimpleNamespace(config=SimpleNamespace(**config)) for name, config in configs.items()}
    return Reader(family, Parts(modules, tokenizers, None, None, None, None, path))  # type: ignore[arg-type]


def _classes(folder: Path) -> dict[str, Any]:
    """The tokenizers that a model folder names, each with its class of ours; StudioError for one that is not known here."""
    import transformers

    classes = {}
    for name, value in check_folder(folder).items():
        said = value[1] if isinstance(value, list) and len(value) == 2 else None
        if name.startswith("tokenizer") and isinstance(said, str):
            kind = said.removesuffix("Fast")
            if kind not in KNOWN:
                raise StudioError(f"{folder}: its {name} is a {kind[:60]}, which is not known here; known are: {', '.join(KNOWN)}")
            classes[name] = getattr(transformers, kind)
    return classes


def cut(family: ModuleType, parts: Parts, caption: str) -> tuple[str, str]:
    """(what the base reads of a caption, what lies beyond its limit), cut before the first word that is not read whole."""
    tokens, limit = family.num_tokens(parts, caption)
    if tokens <= limit:
        return caption, ""
    ends = [0, *(found.end() for found in re.finditer(r"\S+", caption))]
    first = bisect_right(ends, limit, key=lambda end: family.num_tokens(parts, caption[:end])[0]) - 1
    return caption[: ends[max(first, 0)]], caption[ends[max(first, 0)] :].strip()
