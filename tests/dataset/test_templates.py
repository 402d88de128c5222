"""Captions by a template: fields of the pictures, parts that are left out, and what is wrong in one line."""

import json

import pytest

from studio.dataset import picking, wording
from studio.dataset.intake import create_dataset
from studio.dataset.listing import Query, page
from studio.dataset.rows import Row
from studio.dataset.shelf import Shelf
from studio.dataset.templates import in_words, known_fields, template
from studio.dataset.wording import Wording
from studio.errors import StudioError
from tests.fixtures.tiny import images

ONE = {"file": "1.png", "sha256": "a", "pixels": "a", "width": 9, "height": 9}


@pytest.fixture
def rows():
    first = Row(**ONE, source="axial_t1-012.png", facts={"modality": "MR", "Body Part": "brain", "plane": "axial", "slice": 12})
    return [first, Row(**{**ONE, "file": "2.png"}, source="scan.png", facts={"modality": "CT"})]


@pytest.mark.parametrize(
    "text, captions",
    [
        ("{modality} of {body_part}, {plane}", ["MR of brain, axial", "CT of"]),
        ("{modality}[ of {body_part}][, {plane}]", ["MR of brain, axial", "CT"]),
        ("{trigger}, {name}, {plane}, {slice}", ["mri, axial t1, axial, 12", "mri, scan"]),
        ("{modality} of {region}[, {view}]", ["MR of brain, axial", "CT of"]),
        ("{view}", ["axial", ""]),
        ("{modality}[, {folder}]", ["MR", "CT"]),
        ("plain", ["plain", "plain"]),
        ("{plane}", ["axial", ""]),
        ("{trigger}, a {plane} of {body_part}", ["mri, a axial of brain", ""]),
        ("{{{modality}}} {{set}}", ["{MR} {set}", "{CT} {set}"]),
        ("{Body Part}, {MODALITY}", ["brain, MR", "CT"]),
        ("[T1] {modality}", ["T1 MR", "T1 CT"]),
    ],
)
def test_fields_are_filled_in(rows, text, captions):
    write = template(text, known_fields(rows), "mri")
    assert [write(row) for row in rows] == captions


def test_what_may_be_named_is_told(rows):
    assert known_fields(rows) == ["trigger", "name", "body_part", "modality", "plane", "slice"]
    with pytest.raises(StudioError, match=r"\{modality!r\} is not known: use"):
        template("{plane} {modality!r}", known_fields(rows), "")
    with pytest.raises(StudioError, match=r"\{stain\} is not known: use \{trigger\}, \{name\}, \{body_part\}"):
        template("{stain}", known_fields(rows), "")
    with pytest.raises(StudioError, match="no trigger word yet"):
        template("{trigger}", known_fields(rows), "")
    assert template("{modality}[, {trigger}]", known_fields(rows), "")(rows[0]) == "MR", "what may be left out need not be there"
    assert in_words("a_b-003.png") == "a b"


def test_columns_of_a_table_and_the_folder_reach_captions(workspace, tmp_path):
    for part in ("head", "knee"):
        images(tmp_path / "given" / part, 2, captions=False)
    lines = [
        {"file_name": "head/000.png", "text": "", "modality": "MR", "region": "head", "View Position": "axial", "=cmd": "=1+1"},
        {"file_name": "head/001.png", "modality": "CT", "region": "head"},
    ]
    (tmp_path / "given" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    dataset = create_dataset(workspace, "scans", [tmp_path / "given"])
    assert dataset.skipped == [], "a line without a text, but with columns, is no problem"
    assert {"folder", "modality", "region", "view_position"} <= set(known_fields(dataset.rows))
    told = wording.apply(workspace, "scans", Wording(operation="template", text="{modality} of {region}[, {view_position}]"))
    words = {row.source: dataset.caption(row) for row in dataset.rows if "modality" in row.columns}
    assert words == {"000.png": "MR of head, axial", "001.png": "CT of head"} and told["count"] >= 2
    again = wording.apply(workspace, "scans", Wording(operation="template", text="{folder} {name}", overwrite=True))
    assert again["count"] == 4 and any("knee" in dataset.caption(row) for row in dataset.rows)
    assert [each["by"] for each in picking.list_versions(workspace, "scans", dataset.rows[0].file)] == ["template", "template"]
    assert "view_position" in page(Shelf(workspace).open("scans"), Query())["fields"]
