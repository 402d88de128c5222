"""Damaged files of runs, datasets, adapters and models: named in one line, or passed over for the whole ones before them."""

import json
import shutil

import psutil
import pytest

from studio.jobs.runs.folders import boot_id

DAMAGE = {
    "empty": b"", "half": b'{"state": "run', "NUL": b"\0" * 200, "list": b"[]", "null": b"null", "number": b"5", "text": b'"x"',
    "object": b"{}", "deep": b"[" * 100_000, "not UTF-8": b"\xff\xfe{",
}  # fmt: skip
METHODS = [
    "[5]",
    "null",
    '"lora"',
    "[]",
    '[{"kind": []}]',
    '[{"kind": "zip"}]',
    '[{"kind": "lora", "x": 1}]',
    '[{"kind":"lora","rank":"a"}]',
]
SPECS = {f"methods {m}": f'{{"dataset": "shapes", "methods": {m}}}'.encode() for m in METHODS}
STATUSES = [
    {"state": []}, {"state": {}}, {"state": 5}, {"state": "banana"}, {"state": "running", "pid": -5}, {"state": "running", "pid": 10**40},
    {"state": "running", "pid": 1e30}, {"state": "running", "pid": True}, {"state": "running", "pid": "1"},
    {"state": "running", "pid": 1, "started": "x"}, {"state": "running", "pid": 1, "started": None}, {"state": "running", "pid": 1},
    {"state": "running", "pid": 1, "started": 1e308}, {"state": "starting", "pid": [1]},
]  # fmt: skip
EVENTS = [b'{"kind":"step"}\n', b'{"kind":"step","step":"x"}\n', b"5\n[]\nnull\n", b'{"kind":[],"step":1e999}\n', b'{"kind":"step","step":']


@pytest.fixture()
def copy(home, own):
    """A workspace of this test alone with copies of the dataset and of the finished run, twice."""
    shutil.copytree(home.cli.workspace / "datasets", own.workspace / "datasets")
    for name in (home.run, "0002-other"):
        shutil.copytree(home.cli.folder(home.run), own.folder(name))
    return own


def _sample(cli, home, *words):
    return cli.here("sample", home.run, "--steps", 1, "--out", cli.workspace / "out", *words)


def _short(data):
    """A name that a line can hold."""
    return repr(data)[:40]


@pytest.mark.parametrize("what", [*DAMAGE, *SPECS])
def test_a_damaged_spec(copy, home, what):
    path = copy.folder(home.run) / "spec.json"
    path.write_bytes((DAMAGE | SPECS)[what])
    rows = {row["run"]: row for row in copy.here("runs", "--json").well().json}
    assert rows["0002-other"]["state"] == "finished", "one damaged run does not hide the others"
    assert rows[home.run]["state"] == "damaged" and str(path) in rows[home.run]["error"]
    copy.here("runs").well()
    out = copy.workspace / "x.safetensors"
    for words in (["runs", home.run], ["export", home.run, "--out", out], home.train("--from", home.run)):
        assert str(path) in copy.here(*words).complaint()
    assert str(path) in _sample(copy, home).complaint()


@pytest.mark.parametrize("what", [*DAMAGE, *map(json.dumps, STATUSES)], ids=lambda s: s[:50])
def test_a_damaged_status_is_never_running(copy, home, what):
    data = DAMAGE[what] if what in DAMAGE else json.dumps({"boot": boot_id(), "started": 1.0} | json.loads(what)).encode()
    (copy.folder(home.run) / "status.json").write_bytes(data)
    row = copy.here("runs", home.run, "--json").well().json
    assert row == {"run": home.run, "state": "interrupted", "pid": None, "step": 30, "steps": 30}
    assert "not running" in copy.here("stop", home.run).complaint()


@pytest.mark.parametrize("lie", [{"started": 1.0}, {"boot": "another start of the machine"}, {"pid": 2**22 - 1}, {"pid": 1}])
def test_a_stale_status_is_never_running(copy, home, lie):
    """Its process is gone, its number belongs to another one, or the machine has started again since."""
    me = psutil.Process()
    true = {"state": "running", "pid": me.pid, "started": me.create_time(), "boot": boot_id()}
    path = copy.folder(home.run) / "status.json"
    path.write_text(json.dumps(true))
    assert copy.here("runs", home.run, "--json").well().json["pid"] == me.pid
    path.write_text(json.dumps(true | lie))
    row = copy.here("runs", home.run, "--json").well().json
    assert (row["state"], row["pid"]) == ("interrupted", None)


@pytest.mark.parametrize("data", [*DAMAGE.values(), *EVENTS], ids=_short)
def test_damaged_events_cost_nothing_but_themselves(copy, home, data):
    (copy.folder(home.run) / "events.jsonl").write_bytes(data)
    assert copy.here("runs", home.run, "--json").well().json["step"] == 30, "the status knows it too"
    assert copy.here("resume", home.run, "--json").well().json == copy.here("resume", home.run, "--json").well().json
    assert "nothing to stop" in copy.here("stop", home.run).complaint()


@pytest.mark.parametrize("name", ["origin.json", "scores.json"])
@pytest.mark.parametrize("what", [*DAMAGE, "wrong inside"])
def test_damaged_records_of_a_run(copy, home, name, what):
    path = copy.folder(home.run) / name
    path.write_bytes(DAMAGE.get(what, b'{"base": 5, "data": 5, "chosen": 5}'))
    copy.here("runs", "--json").well()
    for answer in (_sample(copy, home), copy.here("export", home.run, "--out", copy.workspace / "x.safetensors")):
        assert str(path) in answer.complaint() or "base model" in answer.complaint()
    assert not (copy.workspace / "x.safetensors").exists()


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_dataset(copy, home, what):
    path = copy.workspace / "datasets/shapes/dataset.json"
    path.write_bytes(DAMAGE[what])
    for words in (["dataset", "report", "shapes"], home.train()):
        assert str(path) in copy.here(*words).complaint()
    copy.here("dataset", "list", "--json").well()
    assert "exists" in copy.here("dataset", "new", "shapes", home.pictures).complaint()
    assert len(list(path.parent.glob("*.png"))) == 8


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_a_truncated_adapter_or_snapshot(copy, home, tmp_path, cut):
    path = copy.folder(home.run) / "adapter.safetensors"
    data = path.read_bytes()[:cut]
    path.write_bytes(data)
    snapshot = copy.folder(home.run) / "snapshots/000020/ema.safetensors"
    snapshot.write_bytes(snapshot.read_bytes()[:cut])
    out = tmp_path / "x.safetensors"
    for answer in (_sample(copy, home), copy.here("export", home.run, "--out", out)):
        assert str(path) in answer.complaint()
    assert "10, 30" in _sample(copy, home, "--snapshot", 20).complaint()
    lone = tmp_path / "lone.safetensors"
    lone.write_bytes(data)
    assert str(lone) in copy.here(*home.train("--from", lone)).complaint()
    assert _sample(copy, home, "--snapshot", 30).well() and not out.exists()


def _begin_again(folder):
    """As if the run's process had been killed just before its end."""
    for name in ("adapter.safetensors", "scores.json", "status.json"):
        (folder / name).unlink()


POINTS = {f"{name} cut": (name, -9) for name in ("raw.safetensors", "optimizer.safetensors", "state.json", "done")}
POINTS |= {f"done {what}": ("done", DAMAGE[what]) for what in ("NUL", "list", "object", "deep")}
POINTS |= {"no done": ("done", None), "no optimizer": ("optimizer.safetensors", None)}


@pytest.mark.parametrize("what", POINTS)
def test_a_damaged_resume_point_is_passed_over(copy, home, inline, what):
    name, damage = POINTS[what]
    folder = copy.folder(home.run)
    file = folder / "resume/000030" / name
    file.write_bytes(damage if isinstance(damage, bytes) else file.read_bytes()[: damage or 0])
    if damage is None:
        file.unlink()
    for odd in ("resume/.tmp-left", "resume/²", "snapshots/.tmp-left", "snapshots/77"):
        (folder / odd).mkdir()
    _begin_again(folder)
    assert copy.here("resume", home.run, "--json").well().json["state"] == "finished"
    assert (folder / "adapter.safetensors").read_bytes() == (home.cli.folder(home.run) / "adapter.safetensors").read_bytes()
    events = (folder / "events.jsonl").read_text().splitlines()
    assert [json.loads(e)["step"] for e in events if '"resumed"' in e] == [28]
    assert not list(folder.rglob(".tmp-*"))


def test_a_damaged_snapshot_is_not_chosen(copy, home, inline):
    folder = copy.folder(home.run)
    (folder / "snapshots/000010/raw.safetensors").write_bytes(b"x")
    shutil.rmtree(folder / "snapshots/000020")
    _begin_again(folder)
    answer = copy.here("resume", home.run, "--json").well()
    assert "warning: the snapshots of steps 10, 20" in answer.out and answer.json["state"] == "finished"


@pytest.mark.parametrize("what", ["text", "unet", "other layers", "mixed ranks"])
def test_adapters_that_do_not_fit(copy, home, tmp_path, inline, what):
    import torch

    from studio.store import read_tensors, write_tensors

    file = tmp_path / "adapter.safetensors"
    state = read_tensors(copy.folder(home.run) / "adapter.safetensors")
    if what == "text":
        file.write_text("not an adapter at all, but long enough to be read as one")
    elif what == "unet":
        shutil.copyfile(home.base / "unet/diffusion_pytorch_model.safetensors", file)
    elif what == "other layers":
        write_tensors(file, {name.replace("unet.", "unet.x"): t for name, t in state.items()})
    else:
        write_tensors(file, {name: torch.cat([t, t], 0 if "lora_A" in name else 1) if "conv1" in name else t for name, t in state.items()})
    answer = copy.here(*home.train("--from", file))
    assert answer.complaint(1, 2)
    assert copy.here("runs", "1", "--json").well().json["state"] == "finished"


BASES = {
    "a program": ("unet/model.py", b"import os", ".py"),
    "a config that asks for code": ("unet/config.json", b'{"auto_map": {"AutoModel": "x.Y"}}', "auto_map"),
    "an index that asks for code": ("model_index.json", b'{"_class_name": ["x", "Y"]}', "class"),
    "another kind of model": ("model_index.json", b'{"_class_name": "KandinskyV22Pipeline"}', "not known"),
    "half an index": ("model_index.json", b'{"_class_name": ', "model_index.json"),
    "a list for an index": ("model_index.json", b"[]", "model_index.json"),
    "a deep config": ("vae/config.json", b"[" * 100_000, "config.json"),
    "no index": ("model_index.json", None, "model_index.json"),
    "cut weights": ("unet/diffusion_pytorch_model.safetensors", -100, "fetch it again"),
    "cut VAE": ("vae/diffusion_pytorch_model.safetensors", 100, "fetch it again"),
    "empty text encoder": ("text_encoder/model.safetensors", b"", "fetch it again"),
    "no weights": ("unet/diffusion_pytorch_model.safetensors", None, "fetch the model again"),
    "pickled weights": ("text_encoder/model.safetensors", "model.bin", ".bin files can run code"),
    "half a tokenizer": ("tokenizer/tokenizer.json", b'{"version": ', "fetch the model again"),
    "an empty config": ("unet/config.json", b"{}", "UNet2DConditionModel is needed"),
}


@pytest.mark.parametrize("what", BASES)
def test_bases_that_are_not_whole_or_not_safe(cli, home, tmp_path, inline, what):
    name, damage, hint = BASES[what]
    base = tmp_path / "base ✓"
    shutil.copytree(home.base, base)
    file = base / name
    if isinstance(damage, bytes):
        file.write_bytes(damage)
    elif isinstance(damage, int):
        file.write_bytes(file.read_bytes()[:damage])
    elif damage:
        file.rename(file.with_name(damage))
    else:
        file.unlink()
    answer = cli.here(*home.train("--base", base, "--set", "train.steps=1"))
    assert hint in answer.complaint(1, 2) and str(base) in answer.err
    listed = cli.workspace / "models"
    listed.mkdir(exist_ok=True)
    (listed / "link").unlink(missing_ok=True)
    (listed / "link").symlink_to(base)
    cli.here("models", "--json").well()


def test_a_base_that_has_changed_since(own, home, tmp_path, inline):
    base = tmp_path / "base"
    shutil.copytree(home.base, base)
    shutil.copytree(home.cli.workspace / "datasets", own.workspace / "datasets")
    run = own.here(*home.train("--base", base, "--set", "train.steps=4", "--set", "train.resume_every=1")).well().json["run"]
    config = base / "unet/config.json"
    config.write_text(config.read_text() + "\n")
    for answer in (_sample(own, home), own.here("export", run, "--out", tmp_path / "x.safetensors")):
        assert str(base) in answer.complaint() and "changed" in answer.err
    (own.folder(run) / "status.json").unlink()
    assert "base model has changed" in own.here("resume", run).complaint(1)
    assert "same --base" in own.here(*home.train("--from", run)).complaint()
    shutil.rmtree(base)
    assert str(base) in _sample(own, home).complaint() and str(base) in own.here("resume", run).complaint(1)


@pytest.mark.parametrize("data", [b"", b"x" * 9, b"\0" * 999, b"\xff" * 8 + b"{}", (2).to_bytes(8, "little") + b"{}"], ids=_short)
def test_single_files_that_are_no_model(cli, home, tmp_path, data):
    file = tmp_path / "model.safetensors"
    file.write_bytes(data)
    assert str(file) in cli.here(*home.train("--base", file)).complaint()
