"""Every reader keeps to the interface, and its choices, fields and extra are known ones."""

import re

import pytest

from studio import registry
from studio.dataset.intake import create_dataset
from studio.dataset.readers.base import WINDOWS, Choices, Reader, grey_choice, parse_choices, window_range
from studio.extras import EXTRAS
from tests.dataset.scans import series


@pytest.mark.parametrize("name", registry.READERS)
def test_a_reader_keeps_to_the_interface(name):
    reader = registry.reader(name)
    wanted = {*Reader.__annotations__, *(key for key in vars(Reader) if not key.startswith("_"))}
    assert len(wanted) >= 12 and all(hasattr(reader, key) for key in wanted), wanted - set(vars(reader))
    assert reader.EXTRA in {*EXTRAS, ""} and reader.SUBJECT in {"p", "s", ""} and reader.TITLE.startswith("a ")
    assert set(re.findall(r"\{(\w+)\}", reader.CAPTION)) <= reader.FIELDS
    assert not reader.LIMIT or reader.LIMIT in Choices.model_fields
    assert not reader.recognise("notes.txt", b"just text") and not reader.recognise("a.png", b"\x89PNG\r\n\x1a\n")


def test_windows_are_read_from_names_and_numbers():
    assert window_range("lung") == (-1350.0, 150.0) and window_range("40/400") == (-160.0, 240.0)
    assert window_range("auto") is None is window_range("") and window_range("-600.5/1500") == (-1350.5, 149.5)
    assert grey_choice(Choices()) is None and grey_choice(parse_choices({"window": "40/400"})) == ["range", -160.0, 240.0]
    assert grey_choice(parse_choices({"window": "percentiles"})) == ["percentiles", 1.0, 99.0]


def test_scans_can_be_left_out_beside_pictures(workspace, pictures, tmp_path):
    folder = series(tmp_path / "ct", 3)
    made = create_dataset(workspace, "plain", [pictures, folder], choices=parse_choices({"series": "none"}))
    assert len(made.rows) == 10 and not made.skipped


def test_the_windows_that_pages_propose_are_those_that_are_known():
    proposed = Choices.model_json_schema()["properties"]["window"]["examples"]
    assert WINDOWS.keys() < set(proposed) and [parse_choices({"window": each}).window for each in proposed] == proposed
