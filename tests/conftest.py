"""Fixtures for all rooms: tiny real models with random weights, and what is loaded from them."""

import copy
import gc
import os
import signal
import subprocess

import pytest

from studio import quiet

quiet.silence()
for number in {signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)}:
    if signal.getsignal(number) is signal.SIG_IGN:  # below nohup, or in a script's background: children would inherit that, and not end
        signal.signal(number, lambda *_: None)
os.environ["HF_HUB_CACHE"] = os.path.join(os.path.dirname(__file__), "no-hub-cache")  # what this machine has fetched is none of the tests'
os.environ.setdefault("DOMAIN_STUDIO_CHECK", "0")  # a check begins by itself where a test asks for that alone
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models are fastest on one thread, also beside other work

from tests.fixtures import forks  # noqa: E402
from tests.fixtures.tiny import tiny_ddpm, tiny_sd  # noqa: E402

forks.hurry()
forks.install()

LONG = (
    "ui/test_train", "ui/test_dataset", "ui/test_story", "ui/test_compare", "ui/test_compare_settings",
    "methods/test_every_pair", "ui/test_serve", "ui/test_runs",
    "ui/test_frame", "train/test_loop", "cli/test_family_story", "cli/test_methods", "test_launch", "families/test_assembly",
    "ui/test_captioner", "ui/test_models", "ui/test_dreambooth", "ui/test_framing_story", "ui/test_doctor", "export/test_whole",
    "cli/test_bad_disk", "jobs/test_spare", "jobs/processes/test_park", "ui/test_layer_methods", "ui/test_export", "train/test_recorded",
    "families/test_single_file", "ui/test_duel", "ui/test_scans", "methods/test_layer_variants", "cli/test_bad_files",
    "families/test_flow", "ui/test_dataset_routes", "ui/test_ddpm", "cli/test_demos", "cli/test_variants",
    "dataset/doctor/test_diagnosis", "families/test_ddpm", "cli/test_live", "ui/test_attacks", "jobs/test_resident",
    "methods/test_lora", "ui/test_captions_read", "cli/test_bad_input", "jobs/runs/test_metrics", "cli/test_privacy",
    "cli/test_flow_story", "jobs/merge/test_merging", "dataset/test_geo", "cli/test_word", "cli/test_story", "families/test_reading",
    "dataset/test_faults", "cli/test_caption", "starter/test_training", "cli/test_bad_pictures",
)  # fmt: skip


gc.disable()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """One set of helpers for all workers, which import what they need while those collect."""
    node.workerinput["helpers"] = forks.share()


def pytest_configure(config):
    """A worker asks the helpers of all."""
    forks.borrow(getattr(config, "workerinput", {}).get("helpers", ""))


def pytest_collection_finish(session):
    """What was imported until now stays: the collector, off meanwhile, need not look through it after each test."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items):
    """The longest files first, so that no worker is left with one of them at the end."""
    places = {name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.nodeid.removeprefix("tests/").partition(".py")[0], len(LONG)))


@pytest.fixture(autouse=True)
def environment():
    """The environment is after a test as it was before: in another one, processes of the studio would not be forked but import anew."""
    before = dict(os.environ)
    yield
    for name in [n for n in os.environ if n not in before and not n.startswith("PYTEST_")]:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture()
def plain_starts(monkeypatch):
    """Processes of the studio that start as a person's do, each with imports of its own; see forks.py."""
    monkeypatch.setattr(subprocess, "Popen", forks.Plain)


@pytest.fixture(scope="session", params=["epsilon", "v_prediction"])
def sd_folder(request, tmp_path_factory):
    """A tiny Stable Diffusion folder, once for each kind of prediction."""
    return tiny_sd(tmp_path_factory.mktemp("base") / request.param, prediction_type=request.param)


@pytest.fixture(scope="session", params=["epsilon", "v_prediction", "grey"])
def ddpm_folder(request, tmp_path_factory):
    """A tiny DDPM folder, once for each kind of prediction, and one that knows grey pictures alone."""
    options = {"channels": 1} if request.param == "grey" else {"prediction_type": request.param}
    return tiny_ddpm(tmp_path_factory.mktemp("base") / f"ddpm-{request.param}", **options)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """One tiny Stable Diffusion folder (epsilon)."""
    return tiny_sd(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def fresh_parts(tiny_folder):
    """fresh_parts(): the tiny base as it is when it has been loaded, fp32 on the CPU; it is read once, copies cost a quarter of that."""
    import torch

    from studio.families import sd

    parts = sd.load(tiny_folder, torch.float32, torch.device("cpu"))
    return lambda: copy.deepcopy(parts)


@pytest.fixture()
def tiny_parts(fresh_parts):
    """A freshly loaded tiny base, fp32 on the CPU."""
    return fresh_parts()


@pytest.fixture(scope="session")
def captioner_folders(tmp_path_factory):
    """By key, a folder with a tiny captioner of each class; not to be changed."""
    from tests.fixtures.tiny_captioners import MAKERS

    root = tmp_path_factory.mktemp("captioners")
    return {key: make(root / key) for key, make in MAKERS.items()}
