"""Which edition of a model this is, where equal headers leave it to names and metadata: editing ones, distilled ones, and what to know."""

import re
from pathlib import Path

from studio.families import folder as model_folder
from studio.families.header import Header, read_header
from studio.families.signs import LEFTOVER

NAMED = ("modelspec.architecture", "modelspec.title", "modelspec.implementation", "_class_name", "base_model")  # metadata that may tell it
DISTILLED = re.compile(r"(?i)(?<![a-z])(turbo|lightning|lcm|tcd|dmd2?|hyper[-_ ]?sd(xl)?|schnell)(?![a-z])|LCMScheduler|TCDScheduler")
EDITING = {  # pipelines and titles of models that also edit pictures -> (how such editions are called, in words)
    "FluxKontextPipeline": ("", "FLUX.1 Kontext"),
    "QwenImageEditPipeline": ("", "Qwen-Image-Edit"),
    "QwenImageEditPlusPipeline": ("", "Qwen-Image-Edit"),
    "FLUX.1 dev": (r"(?i)kontext", "FLUX.1 Kontext"),
    "FLUX.1": (r"(?i)kontext", "FLUX.1 Kontext"),
    "Qwen-Image": (r"(?i)(?<![a-z])edit(?![a-z])", "Qwen-Image-Edit"),
}

GUESSED = {  # titles of models whose editions space their noise levels otherwise -> (what in a name or title settles which, in words)
    "Z-Image": (
        r"(?i)turbo|z[-_ ]?image",
        "its name does not say which edition this is: taken for Z-Image Turbo, whose noise levels are shifted by 3; for the plain model "
        "call the file so (z_image…), or train with train.timestep_shift=6",
    ),
    "Chroma": (
        r"(?i)chroma.*(?<![a-z])(hd|base|flash)(?![a-z])|(?<![a-z0-9])v\d",
        "its name does not say which edition this is: taken for Chroma1-HD, whose noise levels are shifted by 3; for Base or Flash "
        "call the file so (chroma1-base…), or train with train.timestep_shift=1",
    ),
}


def says(header: Header, pattern: str) -> bool:
    """Whether a file's name or metadata say this."""
    return any(re.search(pattern, said) for said in (header.path.stem, *(header.metadata.get(key, "") for key in NAMED)))


def edits(kind: str, header: Header | None = None) -> str:
    """How the edition is called that also edits pictures, of this pipeline, or of a file of this title; empty for the plain one."""
    how, name = EDITING.get(kind, ("", ""))
    return name if not how or (header and says(header, how)) else ""


def guess(title: str, header: Header) -> str:
    """What is only assumed of a file of this title, and how to say otherwise; empty where its name or metadata settle it."""
    settled, words = GUESSED.get(title, ("", ""))
    told = f"{header.path.stem}\n{header.metadata.get('modelspec.title', '')}"
    return "" if re.search(settled, told) or says(header, r"(?i)turbo") else words


def note(path: Path, title: str = "") -> str:
    """What people should know before they train on the model at `path`, by its name, its pipeline and its solver; `title` of a file."""
    index, config = path / "model_index.json", path / "scheduler" / "scheduler_config.json"
    header = read_header(path) if path.is_file() else None
    left = len(re.findall(LEFTOVER, header.text, re.MULTILINE)) if header else 0
    unused = (
        f"{left} tensors of an adapter are left in its file, which are not used: put an adapter into a base by models merge" if left else ""
    )
    assumed = guess(title, header) if header else ""
    if header:
        name, said = edits(title, header), [path.stem]
    else:
        kind = str(model_folder.read_config(index).get("_class_name")) if index.is_file() else ""
        cached = [part for part in path.parts if part.startswith("models--")]  # where the folder itself is called by its commit
        name = edits(kind)
        said = [path.name, *cached, *(str(value) for value in (model_folder.read_config(config).values() if config.is_file() else ()))]
    mark = next((m[0] for word in said if (m := DISTILLED.search(word))), "")
    told = [f"this base ({name}) edits pictures by instructions; here it is trained and drawn by text alone, as its plain edition is"]
    more = (
        f"this base seems to be distilled to draw in a few steps ({mark}), which training undoes in part: "
        "better train on the model it was made from, and use the adapter on both"
    )
    return "; ".join([*(told if name else ()), *((more,) if mark else ()), *filter(None, (assumed, unused))])
