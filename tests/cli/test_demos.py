"""The story of the README on every demo, with the embedded base model: dataset, train, sample, export, load elsewhere."""

import json
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from PIL import Image

from studio.models.bases import STARTER

ROOT = Path(__file__).resolve().parents[2]
FEW = ["train.steps=6", "train.batch_size=4", "preview.steps=2", "preview.every=6", "train.snapshot_every=3", "evaluate.num_timesteps=2"]


def _studio(*words):
    done = subprocess.run([sys.executable, "-m", "studio.cli", *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stdout


@pytest.mark.parametrize(
    ("demo", "prompt"),
    [
        pytest.param("brain-mri", "axial T1 brain MRI slice", marks=pytest.mark.slow),
        ("satellite", "satellite image, desert"),
        pytest.param("icons", "red apple", marks=pytest.mark.slow),
    ],
)
def test_the_story(demo, prompt, tmp_path, request):
    if request.node.get_closest_marker("slow"):
        request.getfixturevalue("plain_starts")  # as on a user's machine; so do the five clicks, which are no slow test
    place = ["--workspace", tmp_path / "workspace", "--json"]
    made, _ = _studio("dataset", "new", demo, "--demo", demo, *place)
    assert 40 <= made["images"] <= 80 and made["skipped"] == []
    run, told = _studio("train", "--dataset", demo, "--preset", "quick", *(w for s in FEW for w in ("--set", s)), *place)
    assert told.splitlines()[0].endswith(run["run"])
    assert run["state"] == "finished" and run["steps"] == 6 and Path(run["adapter"]).is_file()
    pictures, _ = _studio("sample", run["run"], "--prompt", prompt, "--count", 2, "--steps", 4, "--out", tmp_path / "pictures", *place)
    assert len(pictures["base"]) == len(pictures["adapted"]) == 2 and Path(pictures["grid"]).is_file()
    base, adapted = (numpy.asarray(Image.open(pictures[k][0])).astype(int) for k in ("base", "adapted"))
    assert base.shape == (64, 64, 3) and abs(base - adapted).max() > 2
    exported, _ = _studio("export", run["run"], "--out", tmp_path / "adapter.safetensors", *place)
    assert exported["layers"] > 150 and exported["max_difference"] < 1e-4

    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(STARTER, local_files_only=True)
    pipe.load_lora_weights(tmp_path, weight_name="adapter.safetensors")
    assert pipe.get_active_adapters()
