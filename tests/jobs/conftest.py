"""Fixtures of the job room: a workspace with finished runs on a tiny base, made once."""

import pytest

from studio.dataset.intake import create_dataset
from studio.jobs.runs.create import Request, create_run
from studio.store import Workspace
from tests.fixtures.runs import carry_out as carry_out_here
from tests.fixtures.tiny import images

SETTINGS = [
    "train.steps=6", "train.batch_size=2", "train.snapshot_every=2", "method.rank=4", "method.lr=0.02", "evaluate.num_timesteps=2",
    "preview.every=0",
]  # fmt: skip


def make_run_of(workspace, base, *settings, name="shapes", recipe="lora"):
    """A run that is ready to start."""
    return create_run(workspace, Request("shapes", str(base), recipe, name=name, settings=[*SETTINGS, *settings]))


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
