"""What a run will cost: from real earlier runs where there are some, else a rough guess that says so."""

import json

import pytest

from studio.dataset.rows import open_dataset
from studio.families import sd
from studio.jobs.plan import planning
from studio.jobs.plan.estimate import GUESS, LAST, estimate, in_words
from studio.jobs.processes.supervisor import start
from studio.jobs.runs.create import Request, create_run
from studio.jobs.runs.folders import Run
from studio.models.bases import find_base
from studio.models.sizes import read_sizes
from studio.recipes import Choice, resolve
from studio.store import Workspace, write_json
from tests.fixtures.runs import dataset, spec_for
from tests.fixtures.tiny_flow import MODELS, tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_folder):
    """A workspace with a dataset and one real run of the tiny base."""
    workspace = Workspace.at(tmp_path_factory.mktemp("workspace"))
    dataset(workspace, tmp_path_factory.mktemp("given"))
    settings = ["train.steps=8", "train.batch_size=2", "preview.every=4", "preview.steps=2", "evaluate.num_timesteps=2", "method.rank=4"]
    settings += ["train.gradient_checkpointing=on"]
    run = create_run(workspace, Request("shapes", str(tiny_folder), settings=settings))
    assert start(run).wait(120) == 0
    return workspace


def told(workspace, base, *settings, name="shapes"):
    data, found = open_dataset(workspace, name), find_base(str(base), workspace)
    return estimate(workspace, resolve(Choice(data, found, preset="quick", settings=list(settings))), data, found)


def test_an_earlier_run_on_this_base_tells(place, tiny_folder):
    short = told(place, tiny_folder, "train.steps=100", "preview.every=0", "evaluate.num_timesteps=0")
    assert short["source"] == LAST and short["fits"] and short["reason"] is None
    assert short["seconds_low"] < short["seconds"] < short["seconds_high"]
    run = Run(next(place.runs.glob("0001-*")))
    size = run.adapter.stat().st_size / 2**20
    assert short["disk_mib"] >= round(12 * size) and 0.1 < short["memory_gib"] < 4
    long = told(place, tiny_folder, "train.steps=1100", "preview.every=0", "evaluate.num_timesteps=0")
    large = told(place, tiny_folder, "train.steps=100", "train.batch_size=44", "preview.every=0", "evaluate.num_timesteps=0")
    assert long["seconds"] - short["seconds"] == pytest.approx(large["seconds"] - short["seconds"], abs=0.2), "time goes with the samples"
    assert large["memory_gib"] > short["memory_gib"]
    assert told(place, tiny_folder, "train.steps=100")["seconds"] > short["seconds"], "previews and scores take time"


def test_the_plan_is_told_before_kept_and_obeyed(place, tiny_folder):
    from typer.testing import CliRunner

    from studio.cli import app
    from studio.jobs.runs.events import read_events

    run = Run(next(place.runs.glob("0001-*")))
    kept = planning.read(run)
    assert kept.checkpointing and kept.fits and not kept.offload and kept.bits == 16
    (event,) = [e for e in read_events(run.events)[0] if e["kind"] == "planned"]
    assert event["text"] == kept.words() == "gradient checkpointing" and event["peak_gib"] == kept.peak_gib
    write_json(run.folder / planning.FILE, {"odd": 1})
    assert planning.read(run) is None, "a damaged plan is made anew"
    write_json(run.folder / planning.FILE, kept.record())
    before = len(list(place.runs.iterdir()))
    words = ["train", "--dataset", "shapes", "--base", str(tiny_folder), "--dry-run", "--json", "--workspace", str(place.root)]
    answer = CliRunner().invoke(app, [*words, "--set", "train.gradient_checkpointing=on"])
    told = json.loads(answer.output.splitlines()[-1])
    assert answer.exit_code == 0 and told["plan"] == "gradient checkpointing" and told["plan_gib"] > 0.4
    assert "memory plan: about" in answer.output and len(list(place.runs.iterdir())) == before


def test_without_earlier_runs_it_is_a_guess_and_says_so(place):
    guess = told(place, "starter")
    assert guess["source"] == GUESS and guess["fits"]
    assert guess["seconds_high"] / guess["seconds_low"] >= 3
    twice = told(place, "starter", "train.steps=10000")
    assert twice["seconds"] > 2 * guess["seconds"]


def test_the_guess_for_the_embedded_model_is_near_the_measured_time(place, monkeypatch):
    """The README's 52 s on two cores: 75 pictures, 4,000 samples."""
    monkeypatch.setattr("studio.jobs.plan.estimate.physical_cores", lambda: 2)
    guess = told(place, "starter", "train.steps=250")
    assert 35 < guess["seconds"] < 75
    assert 0.4 < guess["memory_gib"] < 1.2


def test_what_does_not_fit_is_said_before(place, tmp_path):
    huge = told(place, "starter", "train.batch_size=1024", "base.size_px=4096")
    assert not huge["fits"] and "GiB of memory" in huge["reason"] and "choose a smaller base" in huge["reason"]
    write_json(place.cache / "machine.json", {"device": "cuda", "name": "small", "memory_gib": 0.25, "cores": 4})
    try:
        small = told(place, "starter", "train.precision=fp32")
        assert not small["fits"] and "the GPU has 0.2" in small["reason"]
    finally:
        (place.cache / "machine.json").unlink()


@pytest.mark.parametrize("damage", [b"", b"{", b'{"kind": "step"}\n', b"\xff\n" * 10])
def test_damaged_earlier_runs_are_passed_over(place, tiny_folder, damage):
    events = Run(next(place.runs.glob("0001-*"))).events
    whole = events.read_bytes()
    events.write_bytes(damage)
    try:
        assert told(place, tiny_folder)["source"] == GUESS
    finally:
        events.write_bytes(whole)


def test_the_size_of_a_denoiser_is_read_from_its_header(tiny_folder):
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(tiny_folder, subfolder="unet")
    sizes = read_sizes(tiny_folder, sd.card)
    assert sizes.denoiser == sum(p.numel() for p in unet.parameters()) and sizes.side == 8


@pytest.mark.parametrize(
    "seconds, words",
    [
        (3, "under 1 min"), (50, "about 1 min"), (140, "about 2 min"), (700, "about 10 min"), (1500, "about 25 min"), (3500, "about 1 h"),
        (5400, "about 1.5 h"), (20000, "about 6 h"), (300000, "about 3 days"),
    ],
)  # fmt: skip
def test_times_are_told_as_roughly_as_they_are_known(seconds, words):
    assert in_words(seconds) == words


def test_a_spec_made_by_hand_is_estimated(place, tiny_folder):
    data = open_dataset(place, "shapes")
    spec = spec_for(data, tiny_folder, "train.steps=3")
    assert estimate(place, spec, data, find_base(str(tiny_folder)))["seconds"] > 0


def test_a_transformer_is_counted_by_its_tokens(tmp_path):
    from studio import registry

    base = find_base(str(tiny(MODELS["chroma"].build, tmp_path / "model")))
    sizes = read_sizes(base.path, registry.family(base.family).card)
    assert sizes.denoiser > 1000 and sizes.width and sizes.depth and (sizes.side / sizes.patch) ** 2 == (16 / 4) ** 2
