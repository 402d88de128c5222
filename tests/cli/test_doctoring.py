"""`dataset check`, `fix`, `undo` and `split`: the doctor without a browser, and what a run records of the split."""

import json

from tests.dataset.messy import SPOILED, fill


def sources(own, name, files):
    rows = json.loads((own.workspace / "datasets" / name / "dataset.json").read_text())["rows"]
    return {row["source"] for row in rows if row["file"] in set(files)}


def test_a_messy_folder_is_checked_mended_and_undone(own, tmp_path):
    folder = fill(tmp_path / "in")
    own.here("dataset", "new", "messy", folder).well()
    told = own.here("dataset", "check", "messy", "--json").well()
    found = {each["key"]: each for each in told.json["findings"]}
    assert set(found) >= {*SPOILED, "exact", "near", "turned", "no_caption", "skipped"} and told.json["compared"]
    assert set(told.json) == {"score", "checked", "measured", "compared", "images", "findings"}
    finding_keys = {"key", "title", "text", "why", "cost", "files", "told", "groups", "mends"}
    assert all(set(each) == finding_keys for each in told.json["findings"])
    assert all(set(mend) == {"mend", "label", "title"} for each in told.json["findings"] for mend in each["mends"])
    assert sources(own, "messy", found["blurred"]["files"]) == {"bad blurred.png"} and "bad-blurred.png: blur" in told.out
    assert f"readiness {told.json['score']} of 100" in told.out and "dataset fix messy --check near --mend copies or keep" in told.out
    done = own.here("dataset", "fix", "messy", "--json").well().json
    assert all(set(each) == {"check", "undo", "text"} for each in done)
    better = own.here("dataset", "check", "messy", "--no-look", "--json").well().json
    assert done and better["score"] > told.json["score"] and not {"exact", "near", "borders"} & {e["key"] for e in better["findings"]}
    assert "does not mend turned" in own.here("dataset", "fix", "messy", "--check", "turned", "--mend", "exclude").complaint()
    one = ("--file", found["turned"]["files"][0])  # as in a review, side by side
    undo = own.here("dataset", "fix", "messy", "--check", "turned", "--mend", "exclude", *one, "--json").well().json[0]["undo"]
    own.here("dataset", "undo", "messy", undo).well()
    own.here("dataset", "fix", "messy", "--check", "blurred", "--mend", "exclude").well()
    assert "Brought back 1 picture" in own.here("dataset", "undo", "messy").well().out
    for each in reversed(done):
        own.here("dataset", "undo", "messy", each["undo"]).well()
    again = own.here("dataset", "check", "messy", "--no-look", "--json").well().json
    assert (again["score"], again["images"]) == (told.json["score"], told.json["images"])
    assert "nothing to undo" in own.here("dataset", "undo", "messy").complaint()
    assert "is no check" in own.here("dataset", "fix", "messy", "--check", "x").complaint()
    assert "say with --check" in own.here("dataset", "fix", "messy", "--mend", "trim").complaint()
    assert "no dataset is called" in own.here("dataset", "check", "gone").complaint()


def test_a_split_by_names_is_previewed_made_and_recorded_in_a_run(own, home, tmp_path, inline):
    for i, picture in enumerate(sorted(home.pictures.glob("*.png"))[:8]):
        (tmp_path / f"patient{i // 2}-{i % 2}.png").write_bytes(picture.read_bytes())
    own.here("dataset", "new", "scans", tmp_path).well()
    words = ("--groups-by", r"patient(\d+)", "--seed", "3")
    told = own.here("dataset", "split", "scans", *words, "--preview", "--json").well().json
    made = own.here("dataset", "split", "scans", *words, "--json").well().json
    assert {key: made[key] for key in told} == told and (made["train"], made["held_out"], made["groups"]) == (6, 2, 4)
    run = own.here(*home.train("--set", "train.steps=2", dataset="scans")).well().json["run"]
    origin = json.loads((own.folder(run) / "origin.json").read_text())
    assert origin["split_rule"] == {"groups_by": r"patient(\d+)", "column": "", "share": None, "within": False, "seed": 3}
    held = {file.split("-")[1] for file, each in origin["data"].items() if each["split"] == "held_out"}
    assert len(held) == 1 and sum(each["split"] == "held_out" for each in origin["data"].values()) == 2
    assert "fits no file name" in own.here("dataset", "split", "scans", "--groups-by", "zebra").complaint()
