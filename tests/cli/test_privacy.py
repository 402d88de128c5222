"""Identities planted in tags, names, captions, EXIF, XMP and IPTC: none of them is in any export, card, board, log, or copied scan."""

import base64
import re
import zipfile
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom import dcmread
from pydicom.dataset import Dataset

from studio.dataset.export import export_dataset, stream_zip
from studio.dataset.rows import open_dataset
from studio.store import Workspace
from tests.cli.conftest import Cli, settings
from tests.dataset.corpus import encode, photo
from tests.dataset.scans import SECRETS, dicom, head, land, nifti, scene, series

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
    xmp = f"<x:xmpmeta><dc:creator>{NAME}</dc:creator></x:xmpmeta>".encode()
    photo(1).save(folder / f"{NAME}-1.jpg", exif=exif, comment=SECRETS[4].encode(), xmp=xmp, quality=95)
    plain = (folder / f"{NAME}-1.jpg").read_bytes()
    iptc = (
        b"Photoshop 3.0\0"
        + b"8BIM\x04\x04\0\0"
        + (8 + len(NAME)).to_bytes(4, "big")
        + b"\x1c\x02\x50"
        + bytes([0, len(NAME)])
        + NAME.encode()
    )
    (folder / f"{NAME}-1.jpg").write_bytes(plain[:2] + b"\xff\xed" + (len(iptc) + 2).to_bytes(2, "big") + iptc + plain[2:])
    photo(4).save(folder / f"{NAME}-4.tif", exif=exif, description=NAME, artist=SECRETS[3], software=SECRETS[4])
    photo(5).save(folder / f"{NAME}-5.gif", comment=NAME.encode())
    info = PngInfo()
    info.add_text("Author", NAME)
    info.add_itxt("Comment", SECRETS[3])
    photo(2).save(folder / f"{NAME}-2.png", pnginfo=info, exif=exif)
    photo(3).save(folder / f"{NAME}-3.webp", lossless=True, exif=exif, xmp=f"<x>{SECRETS[4]}</x>".encode())
    for number in (1, 2, 3):
        (folder / f"{NAME}-{number}.txt").write_text(f"a portrait of {NAME} {SECRETS[1]}", encoding="utf-8")
    return folder


def scans(folder):
    """Scans and scenes alone, each with identities in its tags, its name and the names of its folders; one series in an archive."""
    place = folder / f"{NAME}, Ada"
    place.mkdir(parents=True)
    series(place / "ct", 5, PatientComments=NAME, OperatorsName=SECRETS[4], AccessionNumber=SECRETS[1], StudyDescription=f"{NAME} knee")
    packed = series(folder / "packed", 5, patient=SECRETS[0], uid=SECRETS[5] + ".9", BodyPartExamined="CHEST", WindowCenter=[300, 40],
                    WindowWidth=[700, 80], WindowCenterWidthExplanation=[NAME, "BRAIN"])  # fmt: skip
    with zipfile.ZipFile(place / f"{NAME}.zip", "w") as archive:
        for path in sorted(packed.iterdir()):
            archive.write(path, f"{NAME}^Ada/{SECRETS[2]}/{path.name}")
    for path in packed.iterdir():
        path.unlink()
    ds = dcmread(next((place / "ct").iterdir()))
    block = ds.private_block(0x0011, NAME, create=True)
    block.add_new(0x01, "LO", SECRETS[3])
    ds.save_as(place / f"{NAME}^private.dcm")
    nifti(place / f"sub-{NAME}_{SECRETS[1]}_T2w.nii.gz", land(24, 24, 24).astype("float32"))
    scene(place / f"{NAME}_20210630_B04.tif", land(1, 64, 64), names=(f"of {NAME}",))
    scene(place / f"{NAME}_20210630_B08.tif", land(1, 64, 64), names=(SECRETS[3],))
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
            found += [
                base64.b64decode(part) for part in re.findall(rb"data:image/\w+;base64,([A-Za-z0-9+/=]+)", found[-1])
            ]  # within a page
            if zipfile.is_zipfile(path):
                archive = zipfile.ZipFile(path)
                found += [part for name in archive.namelist() for part in (name.encode(), archive.read(name))]
    return b"\n".join(found).lower()


def told(data):
    return [secret for secret in SECRETS if secret.lower().encode() in data]


@pytest.fixture
def done(tmp_path, home, inline):
    top = tmp_path / NAME  # as a home folder is called after its owner
    top.mkdir()
    own = Cli(top / "workspace")
    own.here("dataset", "new", "mixed", planted(top / "given"), "--tile", "64", "--json").well()
    own.here("caption", "mixed", "--template", "{modality}[ of the {body_part}]", "--overwrite", "--json")
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
    logs = [done.own.folder(run) / name for run in done.runs for name in ("log.txt", "events.jsonl", "plan.json")]
    there = [path for path in logs if path.exists()]
    assert len(there) >= 4 and {path.name: found for path in there if (found := told(everything(path)))} == {}


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


def test_scans_leave_in_every_format_without_what_was_planted(tmp_path):
    own = Cli(tmp_path / NAME / "workspace")
    made = own.here("dataset", "new", "scans", scans(tmp_path / NAME / "given"), "--tile", "64", "--json").well()
    dataset = open_dataset(Workspace.at(own.workspace), "scans")
    kinds = {row.facts.get("modality", "scene") for row in dataset.rows}
    assert kinds == {"CT", "MRI", "scene"} and made.json["skipped"], made.out
    out = tmp_path / "out"
    for kind in ("txt", "jsonl", "kohya", "parquet"):
        export_dataset(dataset, out / kind, kind, facts=True)
        (out / f"{kind}.zip").write_bytes(b"".join(stream_zip(dataset, kind, facts=True)))
    assert len(list(out.rglob("*"))) > 40 and told(everything(out)) == []
    names = [each.file for each in dataset.skipped]
    kept = everything(dataset.root)
    for name in names:
        kept = kept.replace(name.lower().encode(), b"")
    assert told(kept) == [], "only the names of files that could not be used are kept, and not beside pictures"


def headers(folder):
    """Files that can hold words in places beside those of `scans`: nested tags, overlays, UIDs, headers of volumes, columns of tables."""
    place = folder / NAME
    place.mkdir(parents=True)
    for i in range(3):
        path = place / f"{NAME}{i}.dcm"
        dicom(
            path, head(0.3 + i / 10), ImagePositionPatient=[0, 0, i], SOPInstanceUID=f"{SECRETS[5]}.7.{i}", FrameOfReferenceUID=SECRETS[5]
        )
        ds, inner = dcmread(path), Dataset()
        inner.CodeMeaning = inner.PatientComments = NAME
        ds.RequestAttributesSequence = ds.ContentSequence = [inner]
        for element, kind, value in (
            (0x10, "US", 8),
            (0x11, "US", 8),
            (0x22, "LO", NAME),
            (0x1500, "LO", SECRETS[3]),
            (0x3000, "OW", bytes(8)),
        ):
            ds.add_new((0x6000, element), kind, value)
        ds.ImageComments, ds.ProtocolName, ds.ViewPosition, ds.WindowCenterWidthExplanation = NAME, f"T2 {NAME}", NAME[:16], NAME
        ds.save_as(path)
    words = {name: NAME.encode() for name in ("descrip", "aux_file", "db_name", "intent_name")}
    nifti(place / f"{NAME}.nii", land(16, 20, 24).astype("float32"), **words)
    pages = [Image.fromarray(values) for values in land(4, 48, 48)]
    pages[0].save(place / f"{NAME}.tif", save_all=True, append_images=pages[1:], description=NAME, artist=SECRETS[3], software=SECRETS[4])
    cells = {"image": [{"bytes": encode(photo(i), "PNG"), "path": f"{NAME}{i}.png"} for i in range(3)], "text": ["a", "b", "c"]}
    cells |= {"patient": [NAME] * 3, "born": [int(SECRETS[2])] * 3, "hospital": [SECRETS[3]] * 3, "physician": [SECRETS[4]] * 3}
    pyarrow.parquet.write_table(pyarrow.table(cells).replace_schema_metadata({NAME: SECRETS[1]}), place / f"train-{NAME}.parquet")
    return folder


def test_words_of_headers_and_columns_of_tables_do_not_leave(tmp_path):
    own = Cli(tmp_path / NAME / "workspace")
    made = own.here("dataset", "new", "all", headers(tmp_path / NAME / "given"), "--json").well()
    dataset = open_dataset(Workspace.at(own.workspace), "all")
    assert len(dataset.rows) >= 3 + 16 + 4 + 3 - 2 and not [each for each in made.json["skipped"] if "empty" in each["reason"]], made.out
    assert {row.columns["hospital"] for row in dataset.rows if row.columns} == {SECRETS[3]}, "they are kept for templates and the split"
    out = tmp_path / "out"
    for kind in ("txt", "jsonl", "kohya", "parquet"):
        export_dataset(dataset, out / kind, kind, facts=True)
        (out / f"{kind}.zip").write_bytes(b"".join(stream_zip(dataset, kind, facts=True)))
    assert len(list(out.rglob("*"))) > 40 and told(everything(out)) == []
    about = "".join(row.model_dump_json(exclude={"columns"}) + dataset.caption(row) for row in dataset.rows)
    assert told(about.lower().encode()) == []
