"""kohya's folders: repeats are carried into the dataset and the training order, class pictures are left to the run, a noun is proposed."""

from pathlib import Path

import pytest

from studio.dataset.intake import create_dataset
from studio.dataset.kohya import is_class_picture, proposal, repeats_of, shared_out
from studio.dataset.sources import Picture
from studio.spec import PriorSpec
from studio.subject import adopt
from tests.dataset.corpus import encode, photo


def test_repeats_captions_and_the_noun_come_from_the_names(workspace, tmp_path):
    for folder, seeds in (("img/10_sks dog", (1, 2, 3)), ("img/5_sks dog", (4, 5)), ("reg/1_dog", (6,))):
        (tmp_path / folder).mkdir(parents=True)
        for seed in seeds:
            (tmp_path / folder / f"{seed}.png").write_bytes(encode(photo(seed), "PNG"))
    (tmp_path / "img/10_sks dog/1.txt").write_text("a photo of sks dog on grass", encoding="utf-8")
    made = create_dataset(workspace, "dog", [tmp_path / "img", tmp_path / "reg"])
    assert {row.source: row.repeats for row in made.rows} == {"1.png": 10, "2.png": 10, "3.png": 10, "4.png": 5, "5.png": 5}
    assert {row.source: made.caption(row) for row in made.rows}["1.png"] == "a photo of sks dog on grass"
    assert [made.caption(row) for row in made.rows].count("sks dog") == 4
    assert "it counts 5 times in training, as the name of its folder says" in [row.note for row in made.rows]
    (skipped,) = made.skipped
    assert skipped.file == "1_dog/6.png" and skipped.reason.startswith("is a class picture (kohya's reg folder)")
    single = create_dataset(workspace, "one", [tmp_path / "img/10_sks dog"])
    assert single.about == {"trigger": "sks", "class_noun": "dog"} and {row.repeats for row in single.rows} == {10}
    prior = adopt(PriorSpec(), single.about, is_subject=True)
    assert (prior.token, prior.class_noun) == ("sks", "dog")


@pytest.mark.parametrize(
    ("folder", "told"),
    [("10_sks dog", (10, "sks dog")), ("3_a_red_cat", (3, "a red cat")), ("2024_summer", (1, "")), ("0_x", (1, "")), ("dog", (1, ""))],
)
def test_names_of_folders(folder, told):
    for label in ("a.png", f"{folder}/a.png", f"img/{folder}/a.png", f"all.zip/{folder}/deep/er/a.png"):
        assert repeats_of(Picture(Path("/data", label if "/" in label else f"{folder}/{label}"), label)) == told


def test_class_folders_and_proposals():
    for name in ("reg/1_dog/a.png", "Reg_Data/1_dog/a.png", "regularization-images/1_dog/deep/a.png"):
        assert is_class_picture(Picture(Path("/x", name), name)), name
    for name in ("reg/a.png", "regal/1_dog/a.png", "img/1_dog/reg/a.png"):
        assert not is_class_picture(Picture(Path("/x", name), name)), name
    assert repeats_of(Picture(Path("/10_years of photos/x/a.png"), "a.png")) == (1, ""), "what lies above what was given says nothing"
    pictures = [Picture(Path(f"/x/{name}/a.png"), "a.png") for name in ("10_sks dog", "5_sks dog", "5_other cat")]
    assert proposal(pictures[:2]) == {"trigger": "sks", "class_noun": "dog"}
    assert proposal(pictures) == {} == proposal([])
    assert shared_out([10, 10, 5]) == [2, 2, 1] and shared_out([]) == []
