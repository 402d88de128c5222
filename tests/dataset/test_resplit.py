"""A split made anew by a rule: named groups and copies stay on one side, a preview tells it, and it can be undone."""

import json
import shutil

import pytest

from studio.dataset.edit import add_pictures
from studio.dataset.intake import create_dataset
from studio.dataset.resplit import preview_split, split_dataset
from studio.dataset.rows import Dataset
from studio.dataset.split_rule import parse_rule, rule_of
from studio.dataset.wording import undo_change
from studio.errors import StudioError
from studio.store import Workspace
from tests.dataset.corpus import encode, photo


@pytest.fixture(scope="module")
def patients_made(tmp_path_factory):
    """36 pictures of nine patients, in folders and with a table; one is a copy of another patient's."""
    folder, lines = tmp_path_factory.mktemp("patients"), []
    for i in range(36):
        name = f"ward{i % 2}/patient{i // 4:02}-{i % 4}.png"
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(encode(photo(i if i != 35 else 0), "PNG"))
        lines.append(json.dumps({"file_name": name, "text": f"scan {i}", "scene": f"s{i % 6}", "age": i, "long": "x" * 300, "list": [1]}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return create_dataset(Workspace.at(tmp_path_factory.mktemp("made")), "Patients", [folder]).root


@pytest.fixture
def patients(workspace, patients_made):
    return Dataset.load(shutil.copytree(patients_made, workspace.datasets / patients_made.name))


def sides(dataset, key):
    found = {}
    for row in dataset.rows:
        found.setdefault(key(row), set()).add(row.split)
    return found


KEYS = {
    "a pattern": ({"groups_by": r"patient(\d+)"}, lambda row: row.source[:9]),
    "a pattern over the folder": ({"groups_by": r"^ward\d"}, lambda row: row.columns["folder"]),
    "a column": ({"column": "scene"}, lambda row: row.columns["scene"]),
    "the folder": ({"column": "folder"}, lambda row: row.columns["folder"]),
}


@pytest.mark.parametrize("how", KEYS)
def test_no_group_and_no_copy_lies_on_both_sides(workspace, patients, how):
    values, key = KEYS[how]
    before = [(row.file, row.split, row.group) for row in patients.rows]
    told = split_dataset(workspace, "Patients", parse_rule(values))
    now = Dataset.load(patients.root)
    assert all(len(found) == 1 for found in sides(now, key).values())
    assert all(len(found) == 1 for found in sides(now, lambda row: row.pixels).values())
    assert told["held_out"] == len(now.held_out_rows) and told["train"] == len(now.train_rows) and told["groups"] > 0
    assert rule_of(now) == parse_rule(values)
    undo_change(workspace, "Patients", told["undo"])
    assert [(row.file, row.split, row.group) for row in Dataset.load(patients.root).rows] == before
    assert rule_of(Dataset.load(patients.root)) == parse_rule({})


def test_columns_are_kept_but_for_long_ones(patients):
    assert patients.rows[0].columns == {"folder": "ward0", "scene": "s0", "age": "0"}


def test_share_and_seed_draw_other_pictures_and_a_preview_tells_what_is_made(workspace, patients):
    drawn = []
    for values in ({}, {"seed": 1}, {"seed": 2}, {"share": 0.25}):
        rule = parse_rule(values)
        before = (patients.root / "dataset.json").read_bytes()
        told = preview_split(workspace, Dataset.load(patients.root), rule)
        assert (patients.root / "dataset.json").read_bytes() == before
        made = split_dataset(workspace, "Patients", rule)
        assert {key: made[key] for key in told} == told
        drawn.append(frozenset(row.file for row in Dataset.load(patients.root).held_out_rows))
        assert len(drawn[-1]) == told["held_out"]
    assert len(set(drawn)) == 4 and [len(each) for each in drawn] == [5, 5, 5, 9]


def test_pictures_added_later_follow_the_rule(workspace, patients, tmp_path):
    split_dataset(workspace, "Patients", parse_rule({"groups_by": r"patient(\d+)"}))
    for n in range(9):
        (tmp_path / f"patient{n:02}-9.png").write_bytes(encode(photo(100 + n), "PNG"))
    added = add_pictures(workspace, "Patients", [tmp_path])
    assert len(added.files) == 9
    assert all(len(found) == 1 for found in sides(Dataset.load(patients.root), lambda row: row.source[:9]).values())


@pytest.mark.parametrize(
    "values, line",
    [
        ({"groups_by": "("}, "is no regular expression"),
        ({"groups_by": "(a+)+$"}, "repeats a repeat"),
        ({"groups_by": "zebra"}, "fits no file name, such as 'patient"),
        ({"column": "colour"}, "no picture has a column 'colour': there are age, folder, scene"),
        ({"column": "scene", "groups_by": "x"}, "by a pattern or by a column"),
        ({"share": 1.5}, "share"),
        ({"seed": -1}, "seed"),
        ({"size": 3}, "size"),
    ],
)
def test_a_wrong_rule_is_one_clear_line(workspace, patients, values, line):
    with pytest.raises(StudioError, match=line.replace("(", r"\(")) as caught:
        split_dataset(workspace, "Patients", parse_rule(values))
    assert "\n" not in str(caught.value) and Dataset.load(patients.root).rows == patients.rows


def test_groups_too_large_to_hold_out_are_told(workspace, patients):
    told = preview_split(workspace, patients, parse_rule({"groups_by": "(patient)"}))
    assert told["held_out"] == 0 and "no group is small enough" in told["notes"][0]
