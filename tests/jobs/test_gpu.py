"""Whole runs on a GPU: every family with its steps recorded, in few bits, with checkpointing, interrupted and gone on with."""

import json

import pytest
from accelerate.state import AcceleratorState

from studio.dataset.intake import create_dataset
from studio.jobs.runs.create import Request, create_run
from studio.jobs.training.hooks import RunHooks
from studio.store import Workspace, read_tensors
from tests.fixtures.families import FAMILIES
from tests.fixtures.runs import carry_out
from tests.fixtures.tiny import images

pytestmark = pytest.mark.gpu
SETTINGS = (
    "base.size_px=64", "train.steps=8", "train.batch_size=2", "train.snapshot_every=4",
    "evaluate.num_timesteps=2", "preview.steps=2", "preview.every=4",
)  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A workspace with one dataset, "shapes"."""
    workspace = Workspace.at(tmp_path_factory.mktemp("workspace"))
    create_dataset(workspace, "shapes", [images(tmp_path_factory.mktemp("pictures"), 10)])
    return workspace


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Where a family's tiny model is, made at the first question."""
    made = {}

    def _base(family):
        return (
            made.setdefault(family, None) or made.update({family: FAMILIES[family].make(tmp_path_factory.mktemp(family))}) or made[family]
        )

    return _base


def finished(shop, base, *settings, recipe="lora"):
    """A run that was carried out here, and its events by kind."""
    AcceleratorState._reset_state()  # accelerate knows one precision a process; a worker has no other
    rank = [] if recipe in {"full", "textual-inversion", "pivotal", "oft"} else ["method.rank=4", "method.lr=0.01"]
    run = carry_out(create_run(shop, Request("shapes", str(base), recipe, settings=[*SETTINGS, *rank, *settings])))
    events = events_of(run)
    assert events["finished"], events
    return run, events


def events_of(run):
    """A run's events by kind."""
    events = {}
    for line in run.events.read_text().splitlines():
        event = json.loads(line)
        events.setdefault(event["kind"], []).append(event)
    return events


def said(events):
    return [e["message"] for e in events.get("warning", [])]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_with_its_steps_recorded(shop, bases, family):
    recipe = "ddpm-lora" if family == "ddpm" else "lora"
    sizes = ["base.size_px=32"] if family == "ddpm" else []
    run, events = finished(shop, bases(family), *sizes, recipe=recipe)
    assert "steps recorded" in events["planned"][0]["text"]
    assert not [w for w in said(events) if "recorded" in w], said(events)
    assert len(events["preview"]) >= 2 and all(t.isfinite().all() for t in read_tensors(run.adapter).values())


@pytest.mark.parametrize("family", ["sdxl", "flux", "qwen_image"])
@pytest.mark.parametrize("bits", [8, 4])
def test_a_base_in_few_bits_trains(shop, bases, family, bits):
    pytest.importorskip("bitsandbytes")
    run, events = finished(shop, bases(family), f"train.base_bits={bits}")
    assert f"base in {bits} bits" in events["planned"][0]["text"] and "steps recorded" not in events["planned"][0]["text"]
    assert all(t.isfinite().all() for t in read_tensors(run.adapter).values())


def losses_of(events):
    return [e["loss"] for e in events["step"]]


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux", "sana"])
def test_checkpointing_computes_the_same(shop, bases, family):
    """Of the first steps, at least: sums on a GPU come in any order, and AdamW makes much of little."""
    settings = ["train.recorded=off", "train.precision=fp32"]
    on, off = (losses_of(finished(shop, bases(family), f"train.gradient_checkpointing={s}", *settings)[1]) for s in ("on", "off"))
    assert on[:3] == pytest.approx(off[:3], rel=1e-3)


@pytest.mark.parametrize("recipe", ["full", "textual-inversion", "pivotal", "dora", "loha", "lokr", "oft"])
def test_other_methods_train(shop, bases, recipe):
    run, events = finished(shop, bases("sd"), recipe=recipe)
    assert not [w for w in said(events) if "recorded" in w] and run.adapter.is_file()


def test_a_run_that_was_stopped_goes_on_with_the_same_numbers(shop, bases, monkeypatch):
    whole = losses_of(finished(shop, bases("sd"))[1])
    rank = ["method.rank=4", "method.lr=0.01"]
    run = create_run(shop, Request("shapes", str(bases("sd")), "lora", settings=[*SETTINGS, *rank, "train.resume_every=3"]))
    AcceleratorState._reset_state()
    with monkeypatch.context() as patch:
        patch.setattr(RunHooks, "stop_requested", lambda self: self._training.step == 3)
        carry_out(run)
    assert run.read("status.json", "state") == "stopped"
    carry_out(run)
    assert losses_of(events_of(run)) == pytest.approx(whole, rel=0.05)
