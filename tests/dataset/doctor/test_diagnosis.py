"""A messy folder: the doctor names each thing that is wrong with it, leaves what is right alone, and every mend can be undone."""

import json
import shutil
import time
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

from studio.dataset.about import set_trigger
from studio.dataset.doctor import examine as examine_module
from studio.dataset.doctor.chart import CHART, read_chart
from studio.dataset.doctor.diagnosis import cut_at, diagnose
from studio.dataset.doctor.examine import Looker, examine
from studio.dataset.doctor.fix import examined, fix, fix_all
from studio.dataset.doctor.mends import MENDS
from studio.dataset.doctor.table import CHECKS
from studio.dataset.edit import add_pictures, set_caption
from studio.dataset.intake import create_dataset, create_demo
from studio.dataset.removal import list_history
from studio.dataset.rows import Dataset
from studio.dataset.versions import VERSIONS
from studio.dataset.wording import undo_change
from studio.errors import StudioError
from studio.store import Workspace
from tests.dataset.messy import COPIES, SPOILED, fill, scene


@pytest.fixture(scope="module")
def messy(tmp_path_factory):
    """The messy folder and the dataset made of it; not to be changed."""
    folder = fill(tmp_path_factory.mktemp("messy") / "in")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    root = create_dataset(Workspace.at(tmp_path_factory.mktemp("made")), "Messy", [folder]).root
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    return root


@pytest.fixture
def mine(workspace, messy):
    return Dataset.load(shutil.copytree(messy, workspace.datasets / messy.name))


def findings(workspace, name="Messy", **options):
    return {each["key"]: each for each in examined(workspace, name, **options)["findings"]}


def sources(dataset, finding):
    return {row.source for row in dataset.rows if row.file in set(finding["files"])}


def state(root):
    """All that a dataset is, but for what is only ever appended and the order in which a chart was written."""
    files = {
        path.name: path.read_bytes() for path in root.iterdir() if path.is_file() and path.name not in (CHART, VERSIONS, "dataset.json")
    }
    index = json.loads((root / "dataset.json").read_text())
    return files, index, {key: sorted(map(sorted, sets)) for key, sets in read_chart(root).kept.items() if sets}


def test_an_import_alone_names_each_thing(workspace, mine):
    found = findings(workspace)
    for check in SPOILED:
        assert sources(mine, found[check]) == {f"bad {check}.png"}, (check, found[check]["told"])
    near = {name for group in found["near"]["groups"] for name in sources(mine, {"files": group["files"]})}
    assert near == {f"copy {how}.png" for how in COPIES} | {f"good {i:02}.png" for i in range(len(COPIES))}
    assert sources(mine, found["exact"]) == {"same again.png", "good 05.png"}
    assert sources(mine, found["turned"]) == {"mirrored.png", "good 06.png", "quarter.png", "good 07.png"}
    assert sources(mine, found["turned_upright"]) == {"camera.jpg"} and found["turned_upright"]["cost"] == 0
    assert set(found["skipped"]["told"]) == {"corrupt.png", "notes.png"}
    assert len(found["no_caption"]["files"]) == len(mine.rows) - 24 and "leak" not in found and "damaged" not in found
    assert 0 < examined(workspace, "Messy")["score"] < 70
    assert all(each["text"] and each["why"] and each["told"] or each["files"] for each in found.values())


def test_each_group_has_a_proposal_the_largest_or_sharpest(workspace, mine):
    for group in findings(workspace)["near"]["groups"]:
        best = next(row.source for row in mine.rows if row.file == group["best"])
        assert best.startswith("good") or best == "copy as jpeg.png", group


def test_of_identical_pictures_the_one_that_is_not_called_a_copy_is_kept(workspace, tmp_path):
    for name in ("cat (copy).png", "cat.png", "dog.png"):
        scene(1 if "cat" in name else 2).save(tmp_path / name)
    create_dataset(workspace, "Twice", [tmp_path])
    (group,) = findings(workspace, "Twice")["exact"]["groups"]
    assert next(row.source for row in Dataset.load(workspace.datasets / "twice").rows if row.file == group["best"]) == "cat.png"


@pytest.mark.parametrize("demo, score", [("brain-mri", 94), ("satellite", 94), ("icons", 94)])
def test_the_demos_raise_hardly_any_alarm(workspace, demo, score):
    create_demo(workspace, demo, "demo")
    told = examined(workspace, "demo")
    assert told["score"] >= score, told["findings"]
    assert sum(len(each["files"]) for each in told["findings"]) <= 3, told["findings"]


def test_a_check_compares_what_the_pictures_show_and_finds_the_stranger(workspace, mine):
    def features(paths):
        names = [path.name for path in paths]
        random = [np.random.default_rng(crc32(name.encode())).normal(0, 0.1, 32) for name in names]
        rows = np.array([r + (np.eye(32)[1] if "good-09" in name else np.eye(32)[0]) for r, name in zip(random, names, strict=True)])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    steps = []
    examine(workspace, "Messy", lambda done, total: steps.append((done, total)), Looker(features, "test"))
    assert sources(mine, findings(workspace)["outlier"]) == {"good 09.png"} and examined(workspace, "Messy")["compared"]
    assert steps == sorted(steps) and steps[-1] == (2 * len(mine.rows), 2 * len(mine.rows))


def test_nothing_is_measured_twice_and_what_was_measured_before_a_stop_is_kept(workspace, mine, monkeypatch):
    (mine.root / CHART).unlink()
    asked = []
    ask = examine_module.Worker.ask

    def count(self, request, tick):
        asked.append(request["source"])
        if len(asked) == 3:
            raise KeyboardInterrupt
        return ask(self, request, tick)

    monkeypatch.setattr(examine_module.Worker, "ask", count)
    with pytest.raises(KeyboardInterrupt):
        examine(workspace, "Messy", lambda done, total: None)
    assert len(read_chart(mine.root).measured) == 2
    asked[:] = [""] * 5
    examine(workspace, "Messy", lambda done, total: None)
    assert len(asked) - 5 == len({row.pixels for row in mine.rows}) - 2
    examine(workspace, "Messy", lambda done, total: None)
    assert len(asked) - 5 == len({row.pixels for row in mine.rows}) - 2
    assert sources(mine, findings(workspace)["blurred"]) == {"bad blurred.png"}


def test_files_changed_or_lost_since_import_are_named(workspace, mine):
    rows = {row.source: row for row in mine.rows}
    mine.path(rows["good 01.png"]).unlink()
    scene(500).save(mine.path(rows["good 02.png"]))
    mine.path(rows["good 03.png"]).write_bytes(b"broken")
    examine(workspace, "Messy", lambda done, total: None)
    told = findings(workspace)["damaged"]["told"]
    assert {key.split("-", 1)[1]: why.split(":")[0] for key, why in told.items()} == {
        "good-01.png": "is missing",
        "good-02.png": "was changed since it was imported",
        "good-03.png": "was changed since it was imported",
    }


def test_every_mend_mends_and_can_be_undone(workspace, mine):
    set_trigger(workspace, "Messy", "zork")
    done = 0
    for key in CHECKS:
        if key not in (found := findings(workspace)):
            continue
        for mend in (each["mend"] for each in found[key]["mends"]):
            if mend == "review":
                continue
            before, score = state(mine.root), examined(workspace, "Messy")["score"]
            told = fix(workspace, "Messy", key, mend)
            assert told["undo"] and told["text"], (key, mend)
            assert key not in findings(workspace) or mend == "split", (key, mend, findings(workspace).get(key))
            assert examined(workspace, "Messy")["score"] >= score - 8  # a smaller dataset weighs the rest more
            undo_change(workspace, "Messy", told["undo"])
            assert state(mine.root) == before, (key, mend)
            done += 1
    assert done > 25 and [each["kind"] for each in list_history(Dataset.load(mine.root))] == ["about"]
    assert {mend for check in CHECKS.values() for mend in check.mends} == set(MENDS)


def test_all_that_is_safe_is_mended_at_once_and_what_remains_is_a_matter_of_choice(workspace, mine):
    score = examined(workspace, "Messy")["score"]
    done = fix_all(workspace, "Messy")
    assert {each["check"] for each in done} >= {"exact", "near", "borders", "no_caption"}
    left = findings(workspace)
    assert not {"exact", "near", "borders", "no_caption", "leak"} & set(left) and "blurred" in left
    assert examined(workspace, "Messy")["score"] > score
    trimmed = next(row for row in Dataset.load(mine.root).rows if row.source == "bad borders.png")
    left_px, top, right, bottom = trimmed.framing.box_px(trimmed.width, trimmed.height)
    assert (left_px, right) == (0, 256) and abs(top - 29) <= 1 and abs(bottom - 163) <= 1
    for each in reversed(done):
        undo_change(workspace, "Messy", each["undo"])
    assert examined(workspace, "Messy")["score"] == score


def test_a_part_of_a_finding_can_be_mended_and_a_group_kept(workspace, mine):
    groups = findings(workspace)["near"]["groups"]
    fix(workspace, "Messy", "near", "keep", groups[0]["files"])
    assert [group["files"] for group in findings(workspace)["near"]["groups"]] == [group["files"] for group in groups[1:]]
    fix(workspace, "Messy", "near", "copies", groups[1]["files"])
    left = findings(workspace)["near"]["groups"]
    assert len(left) == len(groups) - 2 and groups[1]["best"] in {row.file for row in Dataset.load(mine.root).rows}
    with pytest.raises(StudioError, match="nothing left to mend"):
        fix(workspace, "Messy", "blurred", "exclude", ["nothing.png"])
    with pytest.raises(StudioError, match="is no check: there are"):
        fix(workspace, "Messy", "colour", "exclude")
    with pytest.raises(StudioError, match="does not mend blurred: it offers exclude, keep"):
        fix(workspace, "Messy", "blurred", "trim")


def test_pictures_added_later_are_measured_and_compared_with_the_rest(workspace, mine, tmp_path):
    letterbox = SPOILED["borders"](scene(300))
    letterbox.save(tmp_path / "new box.png")
    scene(8).resize((128, 96)).save(tmp_path / "new copy.png")
    added = add_pictures(workspace, "Messy", [tmp_path])
    found = findings(workspace)
    assert sources(added.dataset, found["borders"]) == {"bad borders.png", "new box.png"}
    assert "new copy.png" in sources(added.dataset, found["near"])
    sides = {row.split for row in added.dataset.rows if row.source in ("good 08.png", "new copy.png")}
    assert len(sides) == 1


def test_captions_that_repeat_lack_the_trigger_or_are_cut(workspace, dataset):
    set_trigger(workspace, dataset.name, "zork")
    long = "a picture of " + ", ".join(f"thing number {n}" for n in range(40))
    for i, row in enumerate(dataset.rows):
        set_caption(workspace, dataset, row.file, long if i == 0 else "a zork" if i < 7 else "")
    found = findings(workspace, dataset.name)
    assert found["no_trigger"]["files"] == [dataset.rows[0].file] and len(found["same_caption"]["files"]) == 6
    assert found["long_caption"]["files"] == [dataset.rows[0].file] and len(found["no_caption"]["files"]) == 3
    told = found["long_caption"]["told"][dataset.rows[0].file]
    at = cut_at(long)
    assert long[:at][-20:] in told and long[at:].strip()[:20] in told and 40 < at < len(long)
    assert cut_at("a short one") is None


def test_few_pictures_and_none_held_out_are_told(workspace, tmp_path):
    scene(1).save(tmp_path / "one.png")
    create_dataset(workspace, "One", [tmp_path])
    found = findings(workspace, "One")
    assert "nothing can be held out" in found["weak_split"]["text"] and found["few"]["cost"] == 10
    empty = diagnose(Dataset(root=tmp_path, name="none", rows=[]), [], read_chart(tmp_path))
    assert empty["score"] == 0 and empty["findings"] == []


def test_a_split_that_holds_out_nothing_is_mended_and_one_given_by_hand_stays(workspace, tmp_path):
    lines = []
    for i in range(10):
        scene(i, (64, 64)).save(tmp_path / f"{i}.png")
        lines.append(json.dumps({"file_name": f"{i}.png", "text": f"scene {i}", "split": "train"}))
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    create_dataset(workspace, "All", [tmp_path])
    assert "nothing is held out" in findings(workspace, "All")["split"]["text"]
    assert [each["check"] for each in fix_all(workspace, "All")] == ["split"]
    assert "split" not in (found := findings(workspace, "All")) and found["weak_split"]["mends"] == []
    assert fix_all(workspace, "All") == []


def test_a_damaged_chart_is_found_again_and_not_told(workspace, mine):
    (mine.root / CHART).write_text('{"measured": 5')
    assert "blurred" not in findings(workspace)
    examine(workspace, "Messy", lambda done, total: None)
    assert "blurred" in findings(workspace) and read_chart(mine.root).checked <= time.time()


def test_pixels_enlarged_without_smoothing_are_told(tmp_path, workspace):
    for i in range(9):
        scene(i, (128, 128)).save(tmp_path / f"{i}.png")
    scene(20, (64, 64)).resize((256, 256), Image.Resampling.NEAREST).save(tmp_path / "blocks.png")
    made = create_dataset(workspace, "Blocks", [tmp_path])
    finding = findings(workspace, "Blocks")["enlarged"]
    assert sources(made, finding) == {"blocks.png"} and "64×64" in next(iter(finding["told"].values()))


def test_a_border_that_most_pictures_share_is_told_and_one_mend_crops_them_all(workspace, tmp_path):
    for i in range(12):
        picture = scene(i, (96, 96))
        (SPOILED["borders"](picture) if i < 9 else picture).save(tmp_path / f"{i:02}.png")
    made = create_dataset(workspace, "Boxed", [tmp_path])
    finding = findings(workspace, "Boxed")["borders"]
    assert len(finding["files"]) == 9 and "most of the dataset" in finding["text"]
    fix(workspace, "Boxed", "borders", "trim")
    assert "borders" not in findings(workspace, "Boxed")
    boxes = [row.framing.box_px(row.width, row.height) for row in Dataset.load(made.root).rows if row.edit]
    assert len(boxes) == 9 and all(abs(box[3] - box[1] - 67) <= 2 for box in boxes)


def test_round_shapes_on_a_black_ground_are_no_letterboxes(workspace, tmp_path):
    y, x = np.mgrid[:96, :96]
    for i in range(12):
        is_inside = ((x - 48) / (36 - i % 3)) ** 2 + ((y - 48) / 30) ** 2 < 1
        Image.fromarray(np.where(is_inside[..., None], np.asarray(scene(i, (96, 96))), 0).astype(np.uint8)).save(tmp_path / f"{i:02}.png")
    create_dataset(workspace, "Round", [tmp_path])
    assert "borders" not in findings(workspace, "Round")
