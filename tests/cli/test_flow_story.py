"""Every tiny flow model is trained, drawn, exported and read back, as the command line does it."""

import json

import pytest
from typer.testing import CliRunner

from studio.cli import app
from studio.jobs.runs.create import Request, create_run
from studio.store import Workspace
from tests.fixtures.runs import carry_out
from tests.fixtures.tiny import images
from tests.fixtures.tiny_flow import MODELS, tiny

ONCE = {row.family: name for name, row in reversed(MODELS.items())}
SETTINGS = ["train.steps=3", "train.batch_size=2", "method.rank=2", "method.lr=0.01", "evaluate.num_timesteps=2", "evaluate.max_images=2"]
SETTINGS += ["preview.steps=2", "train.snapshot_every=3", "base.size_px=32"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("place")
    images(root / "pictures", 5)
    tell(root, "dataset", "new", "shapes", str(root / "pictures"))
    return root


def tell(root, *words):
    """Run a command in this workspace; its JSON answer."""
    done = CliRunner().invoke(app, [*words, "--workspace", str(root / "workspace"), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("family", ONCE)
def test_trained_drawn_exported_and_read_back(family, place):
    from safetensors import safe_open

    row = MODELS[ONCE[family]]
    folder = tiny(row.build, place / family)
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    if family == "flux":
        run = tell(place, "train", "--dataset", "shapes", "--base", str(folder), *settings)["run"]
    else:  # the same without a process of its own, whose start takes longer than all the rest
        workspace = Workspace.at(place / "workspace")
        run = carry_out(create_run(workspace, Request("shapes", str(folder), settings=SETTINGS))).id
    drawn = tell(place, "sample", run, "--prompt", "a red disc", "--steps", "2", "--count", "1", "--out", str(place / f"{family}-pictures"))
    assert drawn["grid"]
    out = place / f"{family}.safetensors"
    told = tell(place, "export", run, "--out", str(out))
    with safe_open(out, "np") as file:
        names, metadata = list(file.keys()), file.metadata()
    assert told["layers"] * 2 == len(names) and told["max_difference"] < 1e-3
    assert all(n.startswith("transformer.") and n.endswith((".lora_A.weight", ".lora_B.weight")) for n in names)
    assert metadata["modelspec.architecture"].endswith("/lora") and not any(key.startswith("ss_") for key in metadata)
