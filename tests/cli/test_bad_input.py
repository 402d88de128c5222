"""Wrong requests: each is told in one clear line that says what to do, and nothing is made or lost."""

import re
from pathlib import Path

import pytest

HUGE = "9" * 5000
NO_RUNS = ["", "..", "/etc", "-1", "99", "²", HUGE, "0001-shapes-lora/../0001-shapes-lora", "0001\n", "\udcff", "*", "a" * 5000, "None"]

SETTINGS = {
    "train.steps=0": "greater than or equal to 1", "train.steps=-1": "greater", "train.steps=1.5": "integer", "train.steps=": "integer",
    "train.steps=abc": "integer", "train.steps=NaN": "finite", "train.steps=Infinity": "finite", "train.steps=1e400": "finite",
    "train.steps=true": "number", "train.steps=null": "integer", "train.steps=[1]": "integer", 'train.steps={"a":1}': "integer",
    "train.steps=" + "[" * 100_000: "integer", "train.steps=" + HUGE: "train.steps", "train.steps=1000001": "1000000",
    "train.steps": "key=value", "": "key=value", "=5": "no such setting", "train=5": "no such setting", "steps=5": "train.steps",
    "train.stpes=5": "train.steps", "method.rnak=4": "method.rank", "train.steps.x=5": "train.steps", "\x1b[31m=1": "no such setting",
    "train.snapshot_steps=[1]": "no such setting", "base.source=x": "no such setting", "method.kind=full": "no such setting",
    "schema_version=2": "no such setting", "train.seed=-1": "greater", "train.seed=9223372036854775808": "less",
    "train.seed=" + HUGE: "train.seed", "train.batch_size=0": "greater", "train.micro_batch=0": "greater", "train.precision=int8": "fp32",
    "train.max_grad_norm=NaN": "max_grad_norm", "train.warmup_share=2": "less", "train.ema_decay=1": "less than 1",
    "method.lr=0": "greater than 0", "method.lr=1e3": "less", "method.lr=NaN": "method.lr", "method.lr=-Infinity": "method.lr",
    "method.lr=true": "number", "method.rank=0": "greater", "method.rank=16.5": "integer", "method.rank=2000": "less",
    "method.alpha=NaN": "method.alpha", "method.alpha=0": "greater", "method.targets=5": "string", "data.flip=maybe": "boolean",
    "data.crops=0": "greater", "data.caption_dropout=-0.1": "greater", "base.size_px=5": "greater", "base.prediction_type=x": "epsilon",
    "preview.prompts=hello": "list", "preview.prompts=[1]": "string", 'preview.prompts=["' + "x" * 2001 + '"]': "2000",
    "preview.guidance=NaN": "preview.guidance", "preview.every=-1": "greater", "evaluate.max_images=0": "greater",
    "name=": "at least 1", "name=" + "n" * 121: "120",
}  # fmt: skip

TRAIN = {
    "no dataset": (["--dataset", "nope"], "shapes"),
    "empty dataset name": (["--dataset", ""], "shapes"),
    "dataset is a path": (["--dataset", "/etc"], "shapes"),
    "dataset leads out": (["--dataset", "../../shapes/x"], "shapes"),
    "dataset not text": (["--dataset", "\udcff"], "shapes"),
    "no base": (["--base", "/nonexistent"], "nothing there"),
    "base of no home": (["--base", "~nobody-of-this-name/x"], "nothing there"),
    "base is too long": (["--base", "a" * 5000], "too long"),
    "base is a device": (["--base", "/dev/null"], ".safetensors"),
    "base is a folder without a model": (["--base", "/"], "model_index.json"),
    "no recipe": (["--recipe", "zip"], "lora"),
    "recipe leads out": (["--recipe", "../presets/lora"], "lora"),
    "empty recipe": (["--recipe", ""], "lora"),
    "from no run": (["--from", "99"], "no such run"),
    "from no file": (["--from", "/nonexistent.safetensors"], "no such file"),
    "from no home": (["--from", "~nobody-of-this-name"], "no such run"),
    "from a folder": (["--from", "/"], "no such run"),
    "name too long": (["--name", "n" * 121], "120"),
}

SAMPLE = {
    "steps 0": (["--steps", 0], "--steps"), "steps 1001": (["--steps", 1001], "--steps"), "no snapshot": (["--snapshot", 7], "10, 20, 30"),
    "guidance nan": (["--guidance", "nan"], "--guidance"), "guidance inf": (["--guidance", "inf"], "--guidance"),
    "guidance -1": (["--guidance", -1], "--guidance"), "strength nan": (["--strength", "nan"], "--strength"),
    "strength -inf": (["--strength", "-inf"], "--strength"), "strength 11": (["--strength", 11], "--strength"),
    "seed -1": (["--seed", -1], "--seed"), "seed 2^63": (["--seed", 2**63], "--seed"), "snapshot -1": (["--snapshot", -1], "10, 20, 30"),
    "no sampler": (["--sampler", "magic"], "dpm++2m"), "empty sampler": (["--sampler", ""], "dpm++2m"),
    "prompt too long": (["--prompt", "x" * 2001], "2000"), "negative too long": (["--negative", "x" * 2001], "2000"),
}  # fmt: skip

USAGE = [
    ["bogus"], ["--bogus"], ["train"], ["train", "--dataset", "shapes", "--preset", "huge"], ["train", "--dataset", "shapes", "extra"],
    ["train", "--dataset", "shapes", "--bogus"], ["sample"], ["sample", "1"], ["sample", "1", "--out", "x", "--steps", "many"],
    ["sample", "1", "--out", "x", "--count", "0"], ["sample", "1", "--out", "x", "--count", "65"],
    ["sample", "1", "--out", "x", "--seed", HUGE], ["export", "1"], ["runs", "-1"], ["stop"],
    ["dataset", "bogus"], ["dataset", "new"], ["dataset", "new", "-1"],
]  # fmt: skip


def _ids(table):
    return [repr(str(name))[:40] for name in table]


@pytest.mark.parametrize("assignment", SETTINGS, ids=_ids(SETTINGS))
def test_wrong_settings(cli, home, assignment):
    before = sorted(p.name for p in (cli.workspace / "runs").iterdir())
    assert SETTINGS[assignment] in cli.here(*home.train("--set", assignment)).complaint()
    assert sorted(p.name for p in (cli.workspace / "runs").iterdir()) == before, "nothing was made"


@pytest.mark.parametrize("what", TRAIN)
def test_wrong_trainings(cli, home, what):
    words, hint = TRAIN[what]
    before = sorted(p.name for p in (cli.workspace / "runs").iterdir())
    answer = cli.here(*home.train(*words))
    assert hint in answer.complaint()
    assert answer.json == {"error": answer.err.strip().removeprefix("error: ")}
    assert sorted(p.name for p in (cli.workspace / "runs").iterdir()) == before, "nothing was made"


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin", ".pkl", ".CKPT"])
def test_files_that_can_run_code_are_refused_with_the_way_out(cli, home, tmp_path, suffix):
    file = tmp_path / f"model{suffix}"
    file.write_bytes(b"\x80\x04cos\nsystem\n")
    for option in ("--base", "--from"):
        assert ".safetensors" in cli.here(*home.train(option, file)).complaint()
    folder = cli.workspace / "models" / f"folder{suffix}"
    folder.mkdir(parents=True)
    (folder / f"model{suffix}").write_bytes(b"x")
    rows = cli.here("models", "--json").well().json
    assert [r["usable"] for r in rows if Path(r["path"]).is_relative_to(folder)] == [False]


@pytest.mark.parametrize("name", NO_RUNS, ids=_ids(NO_RUNS))
def test_unknown_runs(cli, home, tmp_path, name):
    for words in (["runs"], ["stop"], ["resume"], ["sample", "--out", tmp_path / "o"], ["export", "--out", tmp_path / "o.safetensors"]):
        line = cli.here(*words, "--", name).complaint()
        assert len(line) < 1000 and re.search(r"there are: 00\d\d-", line)
    assert not list(tmp_path.iterdir())


def test_a_short_name_must_fit_one_run(cli, home, inline):
    cli.here(*home.train("--set", "train.steps=1", "--set", "preview.every=0")).well()
    assert "several match" in cli.here("runs", "0").complaint()


@pytest.mark.parametrize("what", SAMPLE)
def test_wrong_samples(cli, home, tmp_path, what):
    words, hint = SAMPLE[what]
    assert hint in cli.here("sample", home.run, "--out", tmp_path / "o", *words).complaint()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", USAGE, ids=_ids(map(" ".join, USAGE)))
def test_wrong_words(cli, words):
    answer = cli.here(*words, "--json")
    assert "--help" in answer.complaint()
    assert answer.json == {"error": answer.err.strip().removeprefix("error: ")}


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["ddim", "dpm++2m", "euler", "unipc"])
@pytest.mark.parametrize("steps", [500, 999, 1000])
def test_as_many_steps_as_the_model_has_noise_levels(cli, home, tmp_path, sampler, steps):
    answer = cli.here("sample", home.run, "--steps", steps, "--sampler", sampler, "--out", tmp_path)
    assert answer.code == 0 or "--steps" in answer.complaint()


def test_samples_into_odd_places(cli, home, tmp_path):
    file = tmp_path / "file"
    file.write_text("precious")
    for out in (file, file / "below", "/proc/nothing/here", "/dev/null", tmp_path / ("n" * 300), tmp_path / "/".join(["d" * 200] * 30)):
        cli.here("sample", home.run, "--steps", 1, "--out", out).complaint()
    assert file.read_text() == "precious"
    for out in (tmp_path / "new" / "ünïcode ✓", tmp_path / "new\nline", tmp_path / "-dash"):
        cli.here("sample", home.run, "--steps", 1, "--out", out).well()
        assert len(list(out.glob("*.png"))) == 3


def test_exports_over_something_or_under_nothing(cli, home, tmp_path):
    file, folder = tmp_path / "there.safetensors", tmp_path / "folder.safetensors"
    file.write_text("precious")
    folder.mkdir()
    (tmp_path / "beside.card.md").write_text("precious")
    adapter = cli.folder(home.run) / "adapter.safetensors"
    names = ["x", "x.ckpt", "x.bin", "n" * 250 + ".safetensors", "beside.safetensors", "there.safetensors/below.safetensors"]
    for out in (file, folder, adapter, "/dev/null", "/proc/nothing/x.safetensors", *(tmp_path / n for n in names)):
        cli.here("export", home.run, "--out", out).complaint()
    for out in (folder, file, tmp_path):
        cli.here("export", home.run, "--format", "peft", "--out", out).complaint()
    assert ".safetensors" in cli.here("export", home.run, "--format", "peft", "--out", tmp_path / "peft.safetensors").complaint()
    for layout in ("zip", "KOHYA", "../kohya"):
        line = cli.here("export", home.run, "--format", layout, "--out", tmp_path / "y.safetensors").complaint()
        assert "kohya, diffusers, peft" in line
    cli.here("export", home.run, "--snapshot", "7", "--out", tmp_path / "y.safetensors").complaint()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["beside.card.md", "folder.safetensors", "there.safetensors"]
    assert file.read_text() == "precious"


FAILS = {
    "rank above a layer's size": (["method.rank=33"], "use at most 32"),
    "a target that matches nothing": (["method.targets=bogus"], "'bogus'"),
    "a target beside one that fits": (["method.targets=attention+to_z"], "'to_z'"),
    "an empty target": (["method.targets="], "attention"),
    "a size off the grid": (["base.size_px=17"], "multiple"),
    "half precision without a GPU": (["train.precision=fp16"], "fp32"),
    "an unknown preview sampler": (["preview.sampler=magic"], "dpm++2m"),
    "a rate too low to change anything": (["method.lr=1e-30"], "changes nothing"),
    "more snapshots than the disk holds": (["train.steps=1000000", "train.snapshot_every=1"], "MiB"),
}


@pytest.mark.parametrize("what", FAILS)
def test_trainings_that_cannot_work(cli, home, inline, what):
    wrong, hint = FAILS[what]
    words = [word for s in ["train.steps=2", *wrong] for word in ("--set", s)]
    answer = cli.here(*home.train(*words))
    assert hint in answer.complaint(1)
    result = answer.json
    assert result["state"] == "failed" and hint in result["error"] and result["adapter"] is None
    assert "Traceback" not in answer.out and cli.status(result["run"]) == cli.status(result["run"]) | {"state": "failed", "pid": None}
    cli.here("sample", result["run"], "--steps", 1, "--out", cli.workspace / "never", "--snapshot", "1").complaint()


DIVERGING = ["method.lr=1", "method.alpha=4096", "method.rank=1", "train.max_grad_norm=0", "train.warmup_share=0", "preview.every=0"]


@pytest.mark.parametrize("steps", [1, 60])
def test_a_run_that_diverges_stops_with_numbers_on_disk(cli, home, inline, steps):
    from studio.store import read_tensors

    targets = "attention+feed_forward+conv" + ("+conv_in+conv_out" if steps == 1 else "")
    wrong = [*DIVERGING, f"train.steps={steps}", f"method.targets={targets}", "train.resume_every=1", "train.snapshot_every=1"]
    answer = cli.here(*home.train(*(word for s in wrong for word in ("--set", s))))
    assert "method.lr" in answer.complaint(1)
    folder = cli.folder(answer.json["run"])
    files = list(folder.rglob("*.safetensors"))
    assert files and not (folder / "adapter.safetensors").exists()
    assert all(tensor.isfinite().all() for file in files for tensor in read_tensors(file).values())
    out = folder / "out.safetensors"
    assert "not a number" in cli.here("export", answer.json["run"], "--snapshot", cli.status(folder.name)["step"], "--out", out).complaint()
