"""DICOM: series become windowed slices with captions from listed words; bad files are named and the rest goes on; no identity stays."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from studio.cli import app
from studio.dataset.edit import add_pictures
from studio.dataset.intake import create_dataset
from studio.dataset.readers import dicom_words
from studio.dataset.readers.base import parse_choices
from studio.dataset.rows import Dataset
from studio.errors import StudioError
from studio.store import Workspace
from tests.dataset.scans import SECRETS, SIDE, dicom, head, series

SAGITTAL = [0, 1, 0, 0, 0, -1]


def grey(dataset, row):
    return np.asarray(Image.open(dataset.path(row)).convert("L"), int)


def rows_of(dataset, words):
    return [row for row in dataset.rows if words in row.source]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two patients, three series, single files of every kind, and files that cannot be used."""
    place = tmp_path_factory.mktemp("dicom")
    series(place / "ct", 12)
    mr = {"Modality": "MR", "SeriesDescription": f"ax t2_FLAIR {SECRETS[0]}", "WindowCenter": None, "ImageOrientationPatient": SAGITTAL}
    for i in range(4):
        values = (head(0.3 + i / 10) + 1000).astype(np.uint16) * 3
        place_of = {"ImagePositionPatient": [8.0 * i, 0, 0], "InstanceNumber": 9 - i, "PatientID": "other", "SeriesInstanceUID": "1.2.3"}
        dicom(place / f"mr-{i}", values, **mr | place_of | {"BodyPartExamined": SECRETS[0]})
    one = np.stack([head(0.2 + i / 10) for i in range(3)])
    dicom(place / "frames.dcm", one, NumberOfFrames=3, SeriesInstanceUID="1.2.4", ImageOrientationPatient=None, BodyPartExamined="CHEST")
    dark = np.full((SIDE, SIDE), 0, np.uint16)
    dark[16:48, 16:48] = 4095
    kinds = {"Modality": "CR", "ImageOrientationPatient": None, "WindowCenter": None, "BodyPartExamined": "HAND"}
    dicom(place / "mono1.dcm", dark, **kinds, SeriesInstanceUID="1.2.5", PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    colour = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    dicom(place / "colour.dcm", colour, **kinds | {"Modality": "US"}, SeriesInstanceUID="1.2.6", BurnedInAnnotation="YES")
    dicom(place / "note.dcm", head(0.5), SeriesInstanceUID="1.2.7", Rows=None, Columns=None)
    (place / "again.dcm").write_bytes((place / "mono1.dcm").read_bytes()[:-3000])
    whole = dicom(place / "cut.dcm", dark, **kinds, SeriesInstanceUID="1.2.10").read_bytes()
    (place / "cut.dcm").write_bytes(whole[:-3000])
    (place / "text.dcm").write_text("this is no scan", encoding="utf-8")
    dicom(place / "video.dcm", head(0.5), SeriesInstanceUID="1.2.8", syntax="1.2.840.10008.1.2.4.100")
    dicom(place / "rle.dcm", head(0.4), SeriesInstanceUID="1.2.9", Modality="PT", syntax="1.2.840.10008.1.2.5")
    return place


@pytest.fixture(scope="module")
def imported(folder, tmp_path_factory):
    workspace = Workspace.at(tmp_path_factory.mktemp("workspace"))
    return create_dataset(workspace, "scans", [folder])


def test_a_series_is_in_the_order_of_space_windowed_and_captioned(imported):
    rows = rows_of(imported, "CT series")
    ct = [row for row in rows if row.facts.get("slices") == 12]
    assert [row.facts["slice"] for row in ct] == list(range(2, 12)), "the first and the last slice show air alone"
    assert re.fullmatch(r"CT series \d slice 0002\.png", ct[0].source) and re.fullmatch(r"\d{4}-ct-series-\d-slice-0002\.png", ct[0].file)
    assert imported.caption(ct[0]) == "CT of the head, axial plane, slice 2 of 12"
    assert ct[-1].facts == {"modality": "CT", "body_part": "head", "plane": "axial", "slice": 11, "slices": 12, "position": 0.91}
    assert all(row.note == "window 40/400, from its tags" for row in ct)
    seen, expected = grey(imported, ct[4]), np.clip((head(5 / 12).astype(float) + 160) / 399, 0, 1) * 255
    assert np.abs(seen - expected).max() <= 1.01
    assert any(
        s.file.startswith("CT head, axial (") and s.reason.startswith("2 of its pictures show next to nothing") for s in imported.skipped
    )


def test_without_a_window_the_whole_series_shares_its_percentiles(imported):
    rows = rows_of(imported, "MRI series")
    assert len(rows) == 4 and len({row.note for row in rows}) == 1
    assert rows[0].note.startswith("values ") and "by percentiles of its series" in rows[0].note
    assert [imported.caption(row) for row in rows[:1]] == ["MRI, FLAIR, sagittal plane, slice 1 of 4"], (
        "a body part that is no listed one is left out"
    )
    assert grey(imported, rows[0]).max() == 255 and grey(imported, rows[0]).min() == 0


def test_every_kind_of_picture_is_seen_as_it_is(imported):
    frames = [row for row in rows_of(imported, "CT series") if row.facts.get("slices") == 3]
    assert [imported.caption(row) for row in frames][0] == "CT of the chest, slice 1 of 3"
    assert np.abs(grey(imported, frames[2]) - np.clip((head(0.4).astype(float) + 160) / 399, 0, 1) * 255).max() <= 1.01
    (mono1,) = rows_of(imported, "X-ray")
    assert grey(imported, mono1)[0, 0] == 255 and grey(imported, mono1)[32, 32] == 0, "MONOCHROME1 is shown inverted"
    (packed,) = rows_of(imported, "PET")
    assert np.abs(grey(imported, packed) - np.clip((head(0.4).astype(float) + 160) / 399, 0, 1) * 255).max() <= 1.01
    (colour,) = rows_of(imported, "ultrasound")
    assert np.array_equal(
        np.asarray(Image.open(imported.path(colour))), np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    )
    assert "text may be burned into it" in colour.note


def test_what_cannot_be_used_is_named_with_the_reason(imported):
    told = {each.file: each.reason for each in imported.skipped}
    assert told["note.dcm"] == "is a DICOM file without pictures (CT Image Storage)"
    (cut,) = [reason for file, reason in told.items() if file.startswith("cut.dcm")]
    assert cut == "is cut short: copy or download it again"
    assert told["again.dcm"] == "is a second copy of a picture of this import", "the larger one is taken"
    assert told["text.dcm"] == "is named like a DICOM file, but is none or damaged: export it again"
    video = "is compressed as MPEG2 Main Profile / Main Level, which nothing here decodes: export it as still pictures, uncompressed"
    assert told["video.dcm"] == video, "no extra would decode it"
    assert all("\n" not in reason for reason in told.values())


def test_slices_of_a_patient_stay_on_one_side(imported):
    groups = {row.facts["modality"]: row.group for row in imported.rows}
    assert groups["CT"] != groups["MRI"] and {groups["CT"], groups["MRI"]} == {"p1", "p2"}
    for name in ("p1", "p2"):
        assert len({row.split for row in imported.rows if row.group == name}) == 1
    assert imported.held_out_rows


def test_nothing_of_an_identity_is_kept(imported):
    folder = imported.root
    names = {each.file for each in imported.skipped}
    text = (folder / "dataset.json").read_text("utf-8")
    for name in names:
        text = text.replace(name, "")
    everything = text.encode() + b"".join(path.read_bytes() for path in folder.iterdir() if path.name != "dataset.json")
    assert not [secret for secret in SECRETS if secret.encode() in everything]
    assert not [path.name for path in folder.iterdir() if SECRETS[0].casefold() in path.name.casefold()]


def test_windows_by_name_by_number_and_from_all_values(folder, tmp_path):
    workspace = Workspace.at(tmp_path)
    for i, (window, note) in enumerate({"lung": "window lung", "40/80": "window 40/80", "full": "values -1009 to"}.items()):
        made = create_dataset(workspace, f"w{i}", [folder / "ct"], choices=parse_choices({"window": window, "every": 4, "blocks": True}))
        assert [row.facts["slice"] for row in made.rows] == [2, 6, 10] and all(row.note.startswith(note[:10]) for row in made.rows)
    low, high = -600 - 750, -600 + 750
    made = Dataset.load(workspace.datasets / "w0")
    assert np.abs(grey(made, made.rows[1]) - np.clip((head(5 / 12).astype(float) - low) / (high - low), 0, 1) * 255).max() <= 1
    assert {row.group for row in made.rows} == {"p1-part-1", "p1-part-5", "p1-part-8"} and made.held_out_rows
    added = add_pictures(
        workspace,
        "w0",
        [folder / "mr-0"],
        choices=parse_choices({"window": "brain", "caption": "{modality} in {plane} plane[ of {body_part}]"}),
    )
    row = added.dataset.rows[-1]
    assert row.group == "p2" and "the window brain is for CT alone" in row.note
    assert added.dataset.caption(row) == "MRI in sagittal plane"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"window": "kidney"}, "window: must be auto, full, percentiles, lung"),
        ({"every": 0}, "every: must be greater"),
        ({"low": 60, "high": 40}, "must lie below"),
        ({"plane": "upright"}, "plane"),
        ({"tile": float("nan")}, "tile"),
    ],
)
def test_wrong_choices_are_one_line(values, told):
    with pytest.raises(StudioError, match=told):
        parse_choices(values)


def test_only_listed_words_are_taken_from_descriptions():
    assert dicom_words.sequence("Ax T2_FLAIR fs, Frau Zwillinger") == "FLAIR"
    assert dicom_words.sequence("sag t1 mprage") == "T1" and dicom_words.sequence("T2* gre") == "T2*"
    assert dicom_words.sequence("Smith^John", None) == "" and dicom_words.sequence("attwood pdaniel") == ""
    assert dicom_words.body_part("L-SPINE") == "lumbar spine" and dicom_words.body_part("ZWILLINGER") == ""
    assert dicom_words.plane_of(dicom_words.normal_of([0.7, 0.7, 0, 0, 0.1, 0.9])) == "oblique"
    assert dicom_words.plane_of(dicom_words.normal_of("nonsense")) == ""


def test_the_command_line_surveys_then_imports(folder, tmp_path):
    told = CliRunner().invoke(app, ["dataset", "survey", str(folder / "ct"), "--json"])
    assert told.exit_code == 0, told.output
    assert "CT head, axial: 12 slices of 64x64 px, window 40/400 from its tags, 12 files" in told.output and "--window" in told.output
    (found,) = json.loads(told.output.splitlines()[-1])["sets"]
    assert found["num"] == 12 and found["choices"] == ["window", "every", "skip_empty"]
    words = ["dataset", "new", "chest", str(folder / "ct"), "--window", "lung", "--every", "3", "--workspace", str(tmp_path), "--json"]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0 and json.loads(told.output.splitlines()[-1])["images"] == 4
    assert "nothing is held out: all pictures are of one patient or scene" in told.output
    told = CliRunner().invoke(app, ["dataset", "add", "chest", str(folder / "mr-0"), "--workspace", str(tmp_path), "--json"])
    assert told.exit_code == 0 and len(json.loads(told.output.splitlines()[-1])["added"]) == 1
    assert "added 1 picture to chest, which has 5 now" in told.output
    for option, line in (
        (["--window", "kidney"], "window: must be"),
        (["--caption", "{patient}"], "{patient} is not known"),
        (["--series", "9"], "no number 9"),
    ):
        told = CliRunner().invoke(app, ["dataset", "new", "bad", str(folder / "ct"), "--workspace", str(tmp_path), *option])
        assert told.exit_code == 2 and line in told.output and not (tmp_path / "datasets" / "bad").exists()


def test_a_missing_extra_names_the_line_to_run_and_the_rest_goes_on(folder, pictures, tmp_path, monkeypatch, plain_starts):
    (tmp_path / "pydicom.py").write_text("raise ImportError('not here')\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = create_dataset(Workspace.at(tmp_path / "workspace"), "mixed", [pictures, folder / "mono1.dcm"])
    assert len(made.rows) == 10
    assert [(s.file, s.reason) for s in made.skipped] == [
        ("mono1.dcm", "is a DICOM file, which needs an extra: install it with python launch.py install dicom")
    ]


def test_scans_without_a_suffix_are_found_in_folders_and_archives(folder, tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for i in range(2):
            archive.write(folder / f"mr-{i}", f"{SECRETS[0]}/IM{i}")
    made = create_dataset(Workspace.at(tmp_path / "w"), "study", [tmp_path / "study.zip"])
    assert [made.caption(row) for row in made.rows] == [f"MRI, FLAIR, sagittal plane, slice {k} of 2" for k in (1, 2)]
    assert SECRETS[0].casefold() not in made.model_dump_json().casefold()
