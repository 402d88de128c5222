"""Names of families, methods and captioners, each to its module, imported on first use."""

from importlib import import_module
from types import ModuleType

from studio.errors import StudioError

FAMILIES = {
    "sd": "studio.families.sd",
    "sdxl": "studio.families.sdxl",
    "sd3": "studio.families.sd3",
    "pixart": "studio.families.pixart",
    "ddpm": "studio.families.ddpm",
    "flux": "studio.families.flux",
    "flux2": "studio.families.flux2",
    "chroma": "studio.families.chroma",
    "qwen_image": "studio.families.qwen_image",
    "z_image": "studio.families.z_image",
    "sana": "studio.families.sana",
    "lumina2": "studio.families.lumina2",
}
METHODS = {
    "lora": "studio.methods.lora",
    "dora": "studio.methods.dora",
    "textual_inversion": "studio.methods.textual_inversion",
    "full": "studio.methods.full",
    "loha": "studio.methods.loha",
    "lokr": "studio.methods.lokr",
    "oft": "studio.methods.oft",
}
_READERS_AT = "studio.dataset.readers."
READERS = {
    name: _READERS_AT + name for name in ("dicom", "nifti", "geo", "parquet", "stack")
}  # asked in this order whether a file is theirs
CAPTIONERS = {
    "embedded": "studio.dataset.captioners.embedded",
    "blip": "studio.dataset.captioners.blip",
    "blip2": "studio.dataset.captioners.blip2",
    "florence2": "studio.dataset.captioners.florence2",
    "llava": "studio.dataset.captioners.llava",
    "llava_onevision": "studio.dataset.captioners.llava_onevision",
    "qwen_vl": "studio.dataset.captioners.qwen_vl",
    "gemma3": "studio.dataset.captioners.gemma3",
    "paligemma": "studio.dataset.captioners.paligemma",
    "idefics3": "studio.dataset.captioners.idefics3",
    "instructblip": "studio.dataset.captioners.instructblip",
    "git": "studio.dataset.captioners.git",
    "kosmos2": "studio.dataset.captioners.kosmos2",
    "vit_gpt2": "studio.dataset.captioners.vit_gpt2",
    "tagger": "studio.dataset.captioners.tagger",
    "template": "studio.dataset.captioners.template",
}


def family(key: str) -> ModuleType:
    """The module that implements `families.base.Family` under this key."""
    return _get(FAMILIES, key, "base-model family")


def method(key: str) -> ModuleType:
    """The module that implements `methods.base.Method` under this key."""
    return _get(METHODS, key, "adaptation method")


def captioner(key: str) -> ModuleType:
    """The module that implements `dataset.captioners.base.Captioner` under this key."""
    return _get(CAPTIONERS, key, "captioner")


def reader(key: str) -> ModuleType:
    """The module that implements `dataset.readers.base.Reader` under this key."""
    return _get(READERS, key, "reader of scans")


def _get(table: dict[str, str], key: str, what: str) -> ModuleType:
    if key not in table:
        raise StudioError(f"{key!r} is no {what}; there are: {', '.join(sorted(table))}")
    return import_module(table[key])
