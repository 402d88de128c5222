"""Optional extras: packages that only some need, each installed by its name: `python launch.py install NAME`."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, invalidate_caches
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

from studio.errors import StudioError, printable

_REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements.txt"


@dataclass(frozen=True)
class Extra:
    """An optional set of packages: what it opens up, and why these packages; `pins` are pip requirements."""

    what: str
    reason: str
    pins: tuple[str, ...]
    module: str  # that is imported where the extra is needed


EXTRAS = {
    "dicom": Extra("DICOM series", "the reference reader of DICOM, in Python alone", ("pydicom==3.0.2",), "pydicom"),
    "dicom-codecs": Extra(
        "DICOM files in compressed transfer syntaxes",
        "decoders that pydicom finds by itself; apart, since libjpeg's comes under the GPL",
        ("pydicom==3.0.2", "pylibjpeg==2.1.0", "pylibjpeg-libjpeg==2.5.0", "pylibjpeg-openjpeg==2.6.0"),
        "pylibjpeg",
    ),
    "nifti": Extra("NIfTI volumes", "the reference reader of NIfTI, with the orientation of its axes", ("nibabel==5.4.2",), "nibabel"),
    "geo": Extra("GeoTIFF scenes", "GDAL in a wheel: reads a raster by windows, with bands and place", ("rasterio==1.4.4",), "rasterio"),
    "parquet": Extra("Parquet tables of pictures", "the reference reader and writer of Parquet", ("pyarrow==26.0.1",), "pyarrow"),
    "tagger": Extra("taggers in ONNX files", "runs ONNX networks without their program", ("onnxruntime==1.32.0",), "onnxruntime"),
    "quant": Extra(
        "bases kept in 8 or 4 bits, on NVIDIA", "quantised layers that diffusers knows", ("bitsandbytes==0.50.2",), "bitsandbytes"
    ),
}


def installed(name: str) -> bool:
    """Whether the packages of the extra `name` are here, in whatever version; nothing is imported."""
    return all(_version(pin) for pin in EXTRAS[name].pins)


def _version(pin: str) -> str:
    try:
        return version(pin.partition("==")[0])
    except PackageNotFoundError:
        return ""


def advice(name: str) -> str:
    """What to do where the extra `name` is missing."""
    return f"install it with python launch.py install {name}"


def need(name: str) -> ModuleType:
    """The module of the extra `name`; StudioError with the line to run where it is missing or does not work here."""
    extra = EXTRAS[name]
    try:
        return import_module(extra.module)
    except ImportError as error:
        if not installed(name):
            raise StudioError(f"{extra.what}: the extra {name} is not installed: {advice(name)}") from None
        raise StudioError(f"{extra.what}: the extra {name} does not work here ({error}): {advice(name)}") from None


def install(names: list[str], tell: Callable[[str], None]) -> None:
    """Install extras into this environment, their pins beside those of the studio; StudioError where that fails.

    `tell` is called with each line that pip prints.
    """
    strange = [name for name in names if name not in EXTRAS]
    if strange or not names:
        what = f"there is no extra {printable(strange[0])!r}" if strange else "no extra is named"
        raise StudioError(f"install: {what}: there are {', '.join(EXTRAS)}")
    pins = dict.fromkeys(pin for name in names for pin in EXTRAS[name].pins)
    command = [sys.executable, "-I", "-m", "pip", "--no-input", "--disable-pip-version-check", "install", "--progress-bar", "off"]
    command += ["--constraint", str(_REQUIREMENTS), *pins]
    last = ""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        for line in child.stdout:
            last = printable(line.decode("utf-8", "replace")).strip() or last
            tell(last)
    if child.returncode:
        raise StudioError(f"install {' '.join(names)}: pip failed ({last[:300]}): check the network and the disk, then run it again")
    invalidate_caches()
