"""The model card shows measured figures only, and a report only while it belongs to the weights beside it."""

import json

import pytest

from studio.starter.card import figure_rows, refresh_card, weights_hash
from studio.starter.packages import JUDGE_STYLES
from studio.starter.recipe import Recipe
from studio.starter.report import report

FIGURES = {
    "unet": {"samples": 640, "v_mse": 0.5},
    "vae": {"psnr_unseen_styles_db": 26.19},
    "judge": {"openmoji_top1": 0.471},
    "parameters": {"text": 1, "vae": 2, "unet": 3, "vision": 4, "judge": 5, "pixel": 6},
    "recipe": {**Recipe().__dict__},
}


def make_model(folder):
    (folder / "unet").mkdir()
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"weights")
    (folder / "figures.json").write_text(json.dumps(FIGURES), encoding="utf-8")


def test_what_was_not_measured_is_not_in_the_table():
    rows = figure_rows(FIGURES, None)
    assert "| v-MSE | 0.5 |" in rows and "26.2 dB" in rows and "47.1%" in rows
    assert "None" not in rows and "brain" not in rows and "model's pictures" not in rows


@pytest.mark.parametrize(("same", "shown"), [(True, True), (False, False)])
def test_a_report_of_other_weights_is_not_shown(tmp_path, same, shown):
    make_model(tmp_path)
    digest = weights_hash(tmp_path) if same else "0" * 64
    told = {"concepts": 5, "top1": 0.6, "num_top1": 3, "top5": 0.8, "num_top5": 4, "sheets": {"concepts": "report.png"}}
    (tmp_path / "report.json").write_text(json.dumps(told | {"weights_sha256": digest}), encoding="utf-8")
    refresh_card(tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert ("| 3 of 5 (60.0%) | report |" in text) is shown and ("](report.png)" in text) is shown
    assert ("(no report yet)" in text) is not shown


@pytest.mark.parametrize("part", ["unet", "judge"])
def test_a_report_depends_on_all_that_draws_and_judges(tmp_path, part):
    make_model(tmp_path)
    before = weights_hash(tmp_path)
    (tmp_path / part).mkdir(exist_ok=True)
    (tmp_path / part / "other.safetensors").write_bytes(b"more")
    assert weights_hash(tmp_path) != before


def test_the_drawings_that_the_judge_learned_from_are_attributed_too(tmp_path):
    make_model(tmp_path)
    refresh_card(tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    for style in JUDGE_STYLES:
        row = next(line for line in text.splitlines() if line.startswith(f"| {style.word} (judge) |"))
        assert style.author in row and style.licence in row


def test_a_model_without_a_judge_is_refused_in_words(tmp_path):
    with pytest.raises(ValueError, match="judge"):
        report(tmp_path, tmp_path / "out")
