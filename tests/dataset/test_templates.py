"""Captions by a template: fields of the pictures, parts that are left out, and what is wrong in one line."""


import pytest

from studio.dataset.rows import Row
from studio.dataset.templates import in_words, known_fields, template
from studio.errors import StudioError

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
        ("plain", ["plain", "plain"]),
        ("{plane}", ["axial", ""]),
    ],
)
def test_fields_are_filled_in(rows, text, captions):
    write = template(text, rows, "mri")
    assert [write(row) for row in rows] == captions


def test_what_may_be_named_is_told(rows):
    assert known_fields(rows) == ["trigger", "name", "body_part", "modality", "plane", "slice"]
    with pytest.raises(StudioError, match=r"\{region\} is not known: use \{trigger\}, \{name\}, \{body_part\}"):
        template("{region}", rows, "")
    with pytest.raises(StudioError, match="no trigger word yet"):
        template("{trigger}", rows, "")
    assert in_words("a_b-003.png") == "a b"
