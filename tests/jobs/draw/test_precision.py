"""Runs in half precision: every kind of method trains, is scored and drawn, whatever precision its own tensors have."""

import pytest
from accelerate.state import AcceleratorState

from studio.jobs.runs.create import Request, create_run
from studio.store import read_tensors
from tests.jobs.conftest import SETTINGS, carry_out_here


@pytest.fixture()
def half_precision():
    """accelerate knows one precision a process; a worker has no other."""
    AcceleratorState._reset_state()
    yield "train.precision=bf16"
    AcceleratorState._reset_state()


@pytest.mark.parametrize("recipe", ["lokr", "textual-inversion", "full"])
def test_a_run_in_half_precision(shop, tiny_folder, half_precision, recipe):
    settings = [half_precision, "train.steps=2", "preview.every=2", "preview.steps=2", 'preview.prompts=["a disc"]']
    own = [s for s in SETTINGS if not s.startswith("method.")]
    run = carry_out_here(create_run(shop, Request("shapes", str(tiny_folder), recipe, name=f"half {recipe}", settings=[*own, *settings])))
    assert all(t.isfinite().all() for t in read_tensors(run.adapter).values())
    assert len(list((run.folder / "previews").rglob("*.png"))) == 2
