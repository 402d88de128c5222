"""A split made anew by a rule: named groups and copies stay on one side, a preview tells it, and it can be undone."""

import json
import shutil
import time

import pytest

from studio.dataset import split_rule
from studio.dataset.doctor.fix import fix, fix_all
from studio.dataset.edit import add_pictures
from studio.dataset.intake import create_dataset
from studio.dataset.resplit import preview_split, split_dataset
from studio.dataset.rows import Dataset, Row
from studio.dataset.split_rule import given_names, parse_rule, rule_of
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
        ({"groups_by": "(pa|p|a)*(t|ti|i|e|n)*(en|e|n|t)*x$", "within": True}, "not both"),
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
    told = preview_split(workspace, patients, parse_rule({"groups_by": "patient(0)"}))
    assert told["held_out"] == 0 and "no group is small enough" in told["notes"][0] or told["alone"] == 0
    one = preview_split(workspace, patients, parse_rule({"groups_by": "(patient)"}))
    assert one["held_out"] == 0 and "all pictures are of one group: none is held out" in one["notes"][0]


def test_a_pattern_that_takes_too_long_ends_in_one_line(monkeypatch):
    monkeypatch.setattr(split_rule, "MAX_S", 0.3)
    row = Row(file="1.png", sha256="0", pixels="0", width=64, height=64, source="a" * 60 + "!.png")
    begun = time.monotonic()
    for pattern in ("(a|a)*$", "(a|aa)+$"):
        with pytest.raises(StudioError, match="takes too long on 'aaaa.*write it simpler"):
            given_names([row], parse_rule({"groups_by": pattern}))
    assert time.monotonic() - begun < 30 and given_names([row], parse_rule({"groups_by": "(a+)+"})) == ["a" * 60]


def test_pictures_that_no_pattern_or_column_names_count_by_themselves_and_that_is_told(workspace, patients):
    told = preview_split(workspace, patients, parse_rule({"groups_by": r"patient0([0-3])"}))
    assert any("20 pictures do not match the pattern: each counts by itself" in note for note in told["notes"])
    rows = [row.model_copy(update={"columns": row.columns if n % 2 else {}}) for n, row in enumerate(patients.rows)]
    told = preview_split(workspace, patients.model_copy(update={"rows": rows}), parse_rule({"column": "scene"}))
    assert any("18 pictures have nothing in this column" in note for note in told["notes"])


def pictures_of(folder, num, group=""):
    folder.mkdir()
    lines = []
    for i in range(num):
        (folder / f"{i}.png").write_bytes(encode(photo(200 + i), "PNG"))
        lines.append(json.dumps({"file_name": f"{i}.png", "text": "x", **({"group": group} if group else {})}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


def test_of_one_group_alone_nothing_is_held_out_until_that_is_asked_for(workspace, tmp_path):
    made = create_dataset(workspace, "one", [pictures_of(tmp_path / "one", 9, "patient 1")])
    assert not made.held_out_rows and {row.group for row in made.rows} == {"patient 1"}
    plain = preview_split(workspace, made, parse_rule({}))
    assert plain["held_out"] == 0 and "no verdict on unseen ones" in plain["notes"][0] and "\n" not in plain["notes"][0]
    assert fix_all(workspace, "one") == [] and not Dataset.load(made.root).held_out_rows
    assert fix(workspace, "one", "split", "split")["undo"] is None
    done = fix(workspace, "one", "split", "within")
    now = Dataset.load(made.root)
    assert len(now.held_out_rows) == 2 and rule_of(now).within
    assert any("of these groups, of no others" in note for note in done["notes"])
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "new.png").write_bytes(encode(photo(300), "PNG"))
    before = {row.file: row.split for row in now.rows}
    after = add_pictures(workspace, "one", [tmp_path / "two"]).dataset
    assert {row.file: row.split for row in after.rows if row.file in before} == before, "a later import moves nothing"
    whole = split_dataset(workspace, "one", parse_rule({}))
    assert {row.group for row in Dataset.load(made.root).rows} == {"patient 1", ""} and whole["held_out"] == 1, (
        "the groups are not forgotten"
    )
    undo_change(workspace, "one", done["undo"])
    back = Dataset.load(made.root).rows[:9]
    assert [(row.columns, row.group, row.split) for row in back] == [(row.columns, row.group, row.split) for row in made.rows]


@pytest.mark.parametrize(("num", "held"), [(1, 0), (2, 1), (3, 1), (5, 1), (8, 2)])
def test_small_sets_hold_out_what_the_rule_says_and_say_what_that_means(workspace, tmp_path, num, held):
    made = create_dataset(workspace, "few", [pictures_of(tmp_path / "few", num)])
    told = preview_split(workspace, made, parse_rule({}))
    assert len(made.held_out_rows) == told["held_out"] == held and told["train"] == num - held
    assert len(told["notes"]) == 1 and ("weak" in told["notes"][0]) == (held > 0)
