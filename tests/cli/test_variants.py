"""LoHa, LoKr and OFT from the command line: trained, drawn, exported, continued; and what they refuse."""

import json

import pytest

from studio.store import read_metadata, read_tensors
from tests.cli.conftest import QUICK

OWN = {
    "loha": ("method.rank=4", "method.lr=0.02", "method.targets=attention+feed_forward+conv"),
    "lokr": ("method.rank=4", "method.lr=0.05", "method.targets=attention+feed_forward+conv"),
    "oft": ("method.block_size=4", "method.lr=0.02"),
}
LAYOUT = {"loha": "lycoris", "lokr": "lycoris", "oft": "peft"}


def command(home, kind, *more):
    """A short training by this recipe."""
    shared = [s for s in QUICK if not s.startswith("method.")]
    short = ("train.steps=12", "train.snapshot_every=6", "preview.every=6")
    sets = [word for s in (*shared, *short, *more) for word in ("--set", s)]
    return ["train", "--dataset", "shapes", "--base", home.base, "--recipe", kind, "--json", *sets]


@pytest.fixture(scope="module", params=sorted(OWN))
def trained(request, home, tmp_path_factory):
    """(kind, run, exported file or folder, what was said of it)."""
    kind = request.param
    run = home.cli(*command(home, kind, *OWN[kind])).well().json["run"]
    out = tmp_path_factory.mktemp(kind) / ("adapter" if LAYOUT[kind] == "peft" else "adapter.safetensors")
    return kind, run, out, home.cli.here("export", run, "--out", out, "--json").well().json


def test_the_export_is_verified_and_says_what_it_is(home, trained):
    kind, run, out, said = trained
    state = read_tensors(home.cli.folder(run) / "adapter.safetensors")
    assert said["layers"] == len({n.removesuffix(".weight").rpartition(".")[0] for n in state}) and said["max_difference"] < 1e-4
    if kind == "oft":
        assert json.loads((out / "adapter_config.json").read_text())["peft_type"] == "OFT" and (out / "README.md").is_file()
        return
    told = read_metadata(out)
    assert told["ss_network_module"] == "lycoris.kohya" and json.loads(told["ss_network_args"])["algo"] == kind
    assert all(n.startswith("lora_unet_") for n in read_tensors(out))


def test_it_is_drawn_beside_the_base(home, trained, tmp_path):
    from PIL import Image, ImageChops

    _, run, _, _ = trained
    made = home.cli.here("sample", run, "--prompt", "a disc", "--steps", "2", "--out", tmp_path, "--json").well().json
    base, adapted = (Image.open(made[kind][0]) for kind in ("base", "adapted"))
    assert ImageChops.difference(base, adapted).getbbox()


def test_strength_is_there_where_the_method_has_one(home, trained, tmp_path):
    kind, run, _, _ = trained
    for strength in ("0.5", "0"):
        answer = home.cli.here("sample", run, "--steps", "1", "--strength", strength, "--out", tmp_path, "--json")
        if kind == "oft" and strength == "0.5":
            assert "--strength 0.5: OFT turns" in answer.complaint() and not list(tmp_path.iterdir())
        else:
            answer.well()


def test_it_goes_on_from_its_run_and_from_its_file(home, trained, inline):
    kind, run, out, _ = trained
    short = command(home, kind, "train.steps=2", "train.snapshot_every=2")
    begun = home.cli.here(*short, "--from", run).well().json
    assert begun["state"] == "finished" and begun["steps"] == 2
    if kind == "oft":
        assert "continued from its run" in home.cli.here(*short, "--from", out).complaint()
        assert "continued from its run" in home.cli.here(*short, "--from", out / "adapter_model.safetensors").complaint()
        return
    begun = home.cli.here(*short, "--from", out).well().json
    assert begun["state"] == "finished" and begun["steps"] == 2


def test_a_start_made_by_another_method_is_refused(home, trained):
    kind, run, out, _ = trained
    start = ["train", "--dataset", "shapes", "--base", home.base, "--json"]
    assert f"--recipe {kind}" in home.cli.here(*start, "--from", run).complaint()
    if kind != "oft":
        assert f"continue it with --recipe {kind}" in home.cli.here(*start, "--from", out).complaint()
    assert "--recipe lora" in home.cli.here(*start, "--recipe", kind, "--from", home.run).complaint()


def test_other_layouts_are_refused(home, trained, tmp_path):
    kind, run, _, _ = trained
    complaint = home.cli.here("export", run, "--format", "kohya", "--out", tmp_path / "x.safetensors").complaint()
    assert ("there is only peft" if kind == "oft" else "lycoris, peft") in complaint
    assert "folder" in home.cli.here("export", run, "--format", "peft", "--out", tmp_path / "x.safetensors").complaint()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "setting", "message"),
    [
        ("loha", "rank=0", "method.rank"), ("loha", "rank=500", "use at most 32"), ("loha", "targets=nonsense", "matches no layer"),
        ("lokr", "rank=500", "use at most"), ("lokr", "factor=1", "method.factor"), ("lokr", "targets=", "matches no layer"),
        ("oft", "block_size=7", "does not divide"), ("oft", "block_size=1", "method.block_size"), ("oft", "rank=4", "no such setting"),
        ("oft", "targets=conv", "several pixels"), ("loha", "factor=4", "no such setting"), ("lokr", "rslora=true", "no such setting"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused_in_a_line(home, inline, kind, setting, message):
    answer = home.cli.here(*command(home, kind, f"method.{setting}"))
    said = answer.err if answer.code == 2 else answer.out + answer.err
    assert answer.code in (1, 2) and message in said and "Traceback" not in said
