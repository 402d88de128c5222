"""Fixtures of the job room: a workspace with finished runs on a tiny base, made once."""

import numpy
import pytest
from PIL import Image

from studio.dataset.intake import create_dataset
from studio.jobs.draw import drawing_tasks
from studio.jobs.draw.drawings import create_drawing
from studio.jobs.processes.warm import Warm
from studio.jobs.runs.create import Request, create_run
from studio.jobs.runs.folders import make_run
from studio.spec import validate
from studio.store import Workspace, write_json
from tests.fixtures.runs import carry_out as carry_out_here
from tests.fixtures.tiny import images

SETTINGS = [
    "train.steps=6", "train.batch_size=2", "train.snapshot_every=2", "method.rank=4", "method.lr=0.02", "evaluate.num_timesteps=2",
    "preview.every=0",
]  # fmt: skip
FEW = {"prompt": "a red disc", "seed": 5, "steps": 2, "guidance": 3.0, "sampler": "ddim"}


def make_run_of(workspace, base, *settings, name="shapes", recipe="lora"):
    """A run that is ready to start."""
    return create_run(workspace, Request("shapes", str(base), recipe, name=name, settings=[*SETTINGS, *settings]))


def plain_spec(name="a run"):
    """The settings of a run that never starts."""
    return validate({"name": name, "dataset": "x", "methods": [{"kind": "lora"}]})


def a_run(workspace, name="brain", adapter=True, snapshots=(), base="starter", kind="lora"):
    """A run that has ended, by its files alone."""
    run = make_run(workspace, validate({"name": name, "dataset": name, "methods": [{"kind": kind}], "base": {"source": base}}))
    run.write_status("finished")
    for step in snapshots:
        write_json(run.snapshots / f"{step:06d}" / "done", {})
    if adapter:
        run.adapter.write_bytes(b"")
    return run


def pixels(path):
    """A picture [H, W, 3] as whole numbers that can be subtracted."""
    return numpy.asarray(Image.open(path)).astype(int)


def draw_here(workspace, request, warm=None):
    """A drawing carried out in this process: (drawing, pixels by label and strength and seed)."""
    drawing = create_drawing(workspace, {**FEW, **request})
    drawing_tasks.carry_out(workspace, drawing, warm or Warm(), lambda state, done: None)
    return drawing, [(p, pixels(drawing.pictures / p.file)) for p in drawing.result()["pictures"]]


@pytest.fixture(scope="session")
def shop(tmp_path_factory, tiny_folder):
    """A workspace with one dataset, "shapes"."""
    root = tmp_path_factory.mktemp("shop")
    workspace = Workspace.at(root / "workspace")
    create_dataset(workspace, "shapes", [images(root / "pictures", 10)])
    return workspace


@pytest.fixture(scope="session")
def two_runs(shop, tiny_folder):
    """Two finished runs on the same base, of different rank."""
    return [carry_out_here(make_run_of(shop, tiny_folder, f"method.rank={r}", name=f"rank {r}")) for r in (4, 3)]
