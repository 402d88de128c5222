"""Patients and scenes are known again in later imports, by hashes that lie beside the dataset and not in it."""

import shutil

import numpy as np
from PIL import Image

from studio.dataset.edit import add_pictures
from studio.dataset.intake import create_dataset
from studio.dataset.readers.base import parse_choices
from studio.dataset.rows import Dataset
from studio.dataset.subjects import Subjects
from tests.dataset.scans import SECRETS, SIDE, dicom, land, scene, series


def patient(folder, name, uid="", **tags):
    """Three slices of a patient who looks like no other."""
    folder.mkdir()
    for i in range(3):
        seed = list(f"{folder.name}{i}".encode())
        coarse = Image.fromarray(np.random.default_rng(seed).integers(-100, 200, (6, 6)).astype(np.float32))
        about = {"PatientID": f"{SECRETS[1]}-{name}", "SeriesInstanceUID": uid or f"1.2.{ord(name)}", "ImagePositionPatient": [0, 0, i]}
        dicom(folder / f"{i}.dcm", np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(np.int16), **about | tags)
    return folder


def sides(dataset):
    return {row.group: row.split for row in dataset.rows}


def one_side(dataset):
    return all(len({row.split for row in dataset.rows if row.group == group}) == 1 for group in sides(dataset))


def test_a_patient_and_a_scene_stay_on_their_side_in_later_imports(workspace, tmp_path):
    for name in ("a", "b", "c"):
        patient(tmp_path / name, name)
    place = scene(tmp_path / "one.tif", land(4, 128, 128))
    made = create_dataset(workspace, "later", [tmp_path / "a", tmp_path / "b", place], choices=parse_choices({"tile": 64}))
    assert set(sides(made)) == {"p1", "p2", "s1"}
    patient(tmp_path / "b2", "b", uid="1.2.77", BodyPartExamined="CHEST")
    moved = shutil.copy(place, tmp_path / "renamed.tif")
    more = [tmp_path / "b2", tmp_path / "c", moved]
    made = add_pictures(workspace, "later", more, choices=parse_choices({"tile": 64, "overlap": 0.5})).dataset
    (chest,) = {row.group for row in made.rows if row.facts.get("body_part") == "chest"}
    assert chest == "p2" and set(sides(made)) == {"p1", "p2", "p3", "s1"} and one_side(made)
    assert len([row for row in made.rows if row.group == "s1"]) > 4
    shutil.rmtree(workspace.cache)
    made = add_pictures(workspace, "later", [patient(tmp_path / "d", "d")]).dataset
    assert "p4" in sides(made), "what was known of subjects may be cleared away"
    texts = [path.read_bytes() for path in made.root.iterdir() if path.suffix == ".json"]
    assert not any(secret.encode() in text for secret in SECRETS for text in texts)


def test_a_divided_patient_stays_divided(workspace, tmp_path):
    folder = series(tmp_path / "only", 12)
    made = create_dataset(workspace, "only", [folder], choices=parse_choices({"blocks": True, "every": 2}))
    before = sides(made)
    assert all(group.startswith("p1-part-") for group in before)
    made = add_pictures(workspace, "only", [folder]).dataset
    assert all(group.startswith("p1-part-") for group in sides(made)) and one_side(made)
    assert all(sides(made)[group] == side for group, side in before.items())


def test_names_count_on_also_beyond_groups_that_were_joined():
    subjects = Subjects(groups=frozenset({"p1+p4", "s2-part-3", "alike-12345678"}), known={"old": "p1+p4"})
    assert subjects.name({"old": "p", "new": "p", "land": "s", "table": ""}) == {"old": "p1+p4", "new": "p5", "land": "s3", "table": ""}
    assert subjects.divided(["p1+p4"], True) == {} and subjects.divided(["p5"], True) == {"p5": "p5"}
    assert subjects.divided(["p1-part-2+p1-part-3", "s2-part-3"], False) == {"s2-part-3": "s2"}


def test_what_is_kept_of_subjects_may_be_damaged(workspace, dataset):
    place = workspace.cache / "subjects" / f"{dataset.root.name}.json"
    place.parent.mkdir(parents=True)
    for text in ("", "[]", '{"salt": "xyz", "pictures": {}}', '{"salt": "00", "pictures": [1]}'):
        place.write_text(text, encoding="utf-8")
        assert Subjects.of(workspace, Dataset.load(dataset.root)).known == {}
