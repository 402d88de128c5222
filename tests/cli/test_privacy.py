"""Identities planted in tags, file names, captions and EXIF: none of them is in any export, card, board, log, or copied scan."""

import io
import zipfile
from types import SimpleNamespace

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from studio.dataset.rows import open_dataset
from studio.store import Workspace
from tests.cli.conftest import Cli, settings
from tests.dataset.corpus import photo
from tests.dataset.scans import SECRETS, land, nifti, scene, series

NAME = SECRETS[0]


def planted(folder):
    """Pictures and scans with identities wherever a format can hold them."""
    folder.mkdir()
    series(folder / "ct", 6)
    scene(folder / f"{NAME}.tif", land(4, 64, 64), names=("B02", f"of {NAME}", "B04", "B08"))
    nifti(folder / f"sub-{NAME}_T1w.nii", land(24, 24, 24).astype("float32"))
    exif = Image.Exif()
    exif[0x9286] = exif[0x013B] = f"{NAME}, {SECRETS[3]}"  # comment, artist
    exif.get_ifd(0x8825)[1] = "N"  # a place
    photo(1).save(folder / f"{NAME}-1.jpg", exif=exif, comment=SECRETS[4].encode(), quality=95)
    info = PngInfo()
    info.add_text("Author", NAME)
    info.add_itxt("Comment", SECRETS[3])
    photo(2).save(folder / f"{NAME}-2.png", pnginfo=info, exif=exif)
    photo(3).save(folder / f"{NAME}-3.webp", lossless=True, exif=exif, xmp=f"<x>{SECRETS[4]}</x>".encode())
    for number in (1, 2, 3):
        (folder / f"{NAME}-{number}.txt").write_text(f"a portrait of {NAME} {SECRETS[1]}", encoding="utf-8")
    return folder


def everything(*paths):
    """All bytes and names below `paths`, what zip archives and PNG chunks hold unpacked among them."""
    found = []
    for path in (p for top in paths for p in ([top] if top.is_file() else sorted(top.rglob("*")))):
        found.append(path.name.encode())
        if path.is_file():
            found.append(path.read_bytes())
            if path.suffix == ".png":
                found.append(repr(Image.open(path).info).encode())
            if zipfile.is_zipfile(path):
                archive = zipfile.ZipFile(io.BytesIO(found[-1]))
                found += [part for name in archive.namelist() for part in (name.encode(), archive.read(name))]
    return b"\n".join(found).lower()


def told(data):
    return [secret for secret in SECRETS if secret.lower().encode() in data]


@pytest.fixture
def done(tmp_path, home, inline):
    own = Cli(tmp_path / "workspace")
    own.here("dataset", "new", "mixed", planted(tmp_path / "given"), "--tile", "64", "--json").well()
    words = ["--dataset", "mixed", "--base", home.base, "--json", *settings("train.steps=2", "train.snapshot_every=1", "preview.every=2")]
    runs = [own.here("train", *words).json["run"] for _ in range(2)]
    return SimpleNamespace(own=own, runs=runs, out=tmp_path / "out", dataset=open_dataset(Workspace.at(own.workspace), "mixed"))


def test_nothing_that_was_planted_leaves(done):
    done.out.mkdir()
    for kind, name in (("kohya", "a.safetensors"), ("diffusers", "b.safetensors"), ("peft", "c")):
        done.own.here("export", done.runs[0], "--format", kind, "--out", done.out / name).well()
    for name in ("board.html", "board.csv"):
        done.own.here("board", *done.runs, "--out", done.out / name).well()
    assert len(list(done.out.rglob("*"))) >= 6 and told(everything(done.out)) == []
    logs = [done.own.folder(run) / name for run in done.runs for name in ("log.txt", "events.jsonl")]
    assert told(everything(*logs)) == []


def test_scans_and_stored_pictures_hold_none_of_it(done):
    scans = [row for row in done.dataset.rows if row.facts]
    assert {row.facts.get("modality", "scene") for row in scans} == {"CT", "MRI", "scene"}
    about = "".join(row.model_dump_json() + done.dataset.caption(row) for row in scans)
    assert told(about.lower().encode()) == []
    kept = b"".join(done.dataset.path(row).read_bytes() for row in done.dataset.rows).lower()
    assert told(kept) == [], "also of ordinary pictures, only the pixels are kept"
    for row in done.dataset.rows:
        image = Image.open(done.dataset.path(row))
        assert not image.getexif() and not {"comment", "xmp", "Author", "Comment"} & set(image.info)
