"""The report grades a model: everything is measured on pictures that it draws, and a wrong folder is refused in a line."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from studio.starter.adaptation import Plan
from studio.starter.figures import figures_of, table
from studio.starter.report import REPORT_FILES, SHEET_FILES, Scope, report

MODEL = Path(__file__).parents[2] / "assets" / "starter"
FEW = Scope(num_steps=3, max_concepts=4, style_concepts=2, adaptation=None)
QUICK = ("train.steps=6", "train.batch_size=4", "preview.steps=2", "preview.every=6", "train.snapshot_every=3", "evaluate.num_timesteps=2")


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    (out / SHEET_FILES["icons"]).write_bytes(b"of an older report")
    lines = []
    return report(MODEL, out, lines.append, FEW), out, lines


def test_every_part_is_measured(graded):
    result, _, _ = graded
    assert result["concepts"] == 4 and len(result["places"]) == 4 and 0 <= result["top1"] <= result["top5"] <= 1
    assert result["num_top5"] == round(result["top5"] * 4)
    assert result["styles"]["concepts"] == 2 and len(result["styles"]["styles"]) == 7
    assert list(result["guidance"]) == ["1", "3", "6"] and result["guidance"]["3"]["top5"] == result["top5"]
    assert set(result["negative"]["redness"]) == {"none", "red", "blue"}
    assert "adaptation" not in result


def test_its_files_say_what_was_measured_and_no_older_sheet_stays(graded):
    result, out, _ = graded
    assert json.loads((out / "report.json").read_text("utf-8")) == result
    assert {f.name for f in out.iterdir()} == {"report.json", *result["sheets"].values()} <= set(REPORT_FILES)
    with Image.open(out / result["sheets"]["styles"]) as sheet:
        assert sheet.size == (84 + 2 * 68, 16 + 7 * 68)


def test_progress_is_told(graded):
    assert any("styles: 14 of 14 drawn" in line for line in graded[2])


def test_the_table_has_a_line_for_each_figure(graded):
    text = table(MODEL, graded[0])
    assert f"{graded[0]['num_top5']} of 4" in text and "chance 14.3%" in text and "None" not in text
    assert len({len(line) - len(line.split("  ")[-1].lstrip()) for line in text.splitlines()}) == 1, "the values stand below each other"


def test_the_table_shows_adaptation_with_what_it_is_worth():
    told = {"real": 1.0, "own": 0.04, "base": 0.0, "adapted": 0.83}
    run = {"held_out_base": 0.518, "held_out_adapted": 0.445, "held_out_change": -0.164, "improved": [11, 11], "minutes": 4.1}
    adaptation = {"features": "statistics", "demos": {"icons": run | {"pairs": 24, "in_domain": {"statistics": told}}}}
    values = {line.what: line.value for line in figures_of({}, {"adaptation": adaptation})}
    assert values["icons: held-out loss, base → adapted"] == "0.518 → 0.445 (-16.4%), better on 11 of 11"
    assert values["icons: samples in the domain, base → adapted"] == "0% → 83% of 24"
    assert values["icons: real held-out pictures / the base's own drawings in the domain"] == "100% / 4%"


def test_unknown_figures_of_the_build_are_left_out():
    lines = figures_of({"judge": {"openmoji_top5": 0.8, "something_else": 3}, "vae": {"psnr_satellite_db": 29.28}}, None)
    assert [(line.value, line.by) for line in lines] == [("80.0%", "build"), ("29.3 dB", "build")]


@pytest.mark.parametrize("left", ["", "judge"])
def test_a_bad_folder_is_refused_in_one_line(tmp_path, left):
    if left:
        shutil.copytree(MODEL / left, tmp_path / left)
    with pytest.raises(ValueError, match="judge.safetensors|model_index.json|not known here") as caught:
        report(tmp_path, tmp_path / "out", scope=FEW)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_adapter_is_trained_for_real_and_graded(tmp_path):
    plan = Plan(demos=("satellite",), num_pairs=4, num_steps=4, settings=QUICK)
    result = report(MODEL, tmp_path, scope=Scope(3, 4, 2, plan))
    run = result["adaptation"]["demos"]["satellite"]
    assert run["improved"][1] == 12 and run["held_out_base"] > 0 and run["minutes"] > 0
    assert set(run["in_domain"]) == {"statistics", "statistics and judge", "judge"}
    assert (tmp_path / "report-satellite.png").exists() and "satellite: held-out loss" in table(MODEL, result)
