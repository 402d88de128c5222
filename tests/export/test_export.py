"""An exported adapter: equal in other programs, readable by them, silent about whose pictures it saw."""

import json
import stat
import struct

import numpy
import pytest
import torch

from studio import quiet
from studio.dataset.intake import create_dataset
from studio.errors import StudioError
from studio.families import sd
from studio.jobs.draw.adapted import load_adapted
from studio.jobs.export.exporting import export_run
from studio.jobs.runs.create import Request, create_run
from studio.sample.pair import Sampling, Shot, draw
from studio.store import Workspace, read_metadata, tensors_to_bytes
from tests.fixtures.runs import carry_out
from tests.fixtures.tiny import images

quiet.silence()
SECRETS = ["zanzibar", "geheim", "quixotic"]  # in a caption, the dataset's name and a preview prompt


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_folder):
    """A finished run made in this process: (workspace, run)."""
    root = tmp_path_factory.mktemp("exporting")
    workspace = Workspace.at(root / "workspace")
    pictures = images(root / "pictures", 10)
    (pictures / "000.txt").write_text("a zanzibar disc")
    create_dataset(workspace, "geheim", [pictures])
    settings = [
        "train.steps=8", "train.batch_size=2", "method.rank=4", "method.lr=0.02", "method.targets=attention+feed_forward+conv",
        "method.text_encoder=true", "method.rslora=true", "evaluate.num_timesteps=2", 'preview.prompts=["quixotic"]', "preview.steps=2",
    ]  # fmt: skip
    run = create_run(workspace, Request("geheim", str(tiny_folder), settings=settings))
    return workspace, carry_out(run)


def _fresh_pipeline(tiny_folder):
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(tiny_folder, local_files_only=True, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
def test_a_fresh_pipeline_draws_what_the_run_draws(finished, tiny_folder, tmp_path, layout):
    workspace, run = finished
    file, verified = export_run(workspace, run, layout, None, tmp_path / "adapter.safetensors")
    assert verified.layers == verified.expected and verified.max_difference < 1e-4 < verified.effect

    adapted = load_adapted(workspace, run, None)
    sampling = Sampling(prompt="a red disc", seed=5, steps=3, guidance=2.0, sampler="ddim", width=16, height=16)
    base, ours = (
        numpy.asarray(p).astype(int)
        for p in draw(sd, adapted.parts, adapted.adapter, [Shot(sampling=sampling, strength=s) for s in (0, 1)], True)
    )

    from studio.train.randomness import generator

    noise = torch.randn(4, 8, 8, generator=generator(5, "noise"))[None]
    pipe = _fresh_pipeline(tiny_folder)
    call = {"latents": noise, "num_inference_steps": 3, "guidance_scale": 2.0, "width": 16, "height": 16}
    plain = numpy.asarray(pipe("a red disc", **call).images[0]).astype(int)
    pipe.load_lora_weights(file.parent, weight_name=file.name)
    theirs = numpy.asarray(pipe("a red disc", **call).images[0]).astype(int)
    assert abs(theirs - ours).max() <= 1 and abs(plain - base).max() <= 1
    assert abs(theirs - plain).max() > 2


def test_nothing_personal_leaves(finished, tmp_path):
    workspace, run = finished
    for layout in ("kohya", "peft"):
        out = tmp_path / layout / ("x.safetensors" if layout == "kohya" else "x")
        export_run(workspace, run, layout, None, out)
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert {p.name for p in written} >= {"x.safetensors", "x.card.md", "adapter_model.safetensors", "adapter_config.json", "README.md"}
    for path in written:
        data = path.read_bytes()
        for word in [*SECRETS, str(workspace.root), run.id, "000.png"]:
            assert word.encode() not in data, f"{word} in {path.name}"


def test_metadata_says_what_readers_look_for(finished, tmp_path):
    workspace, run = finished
    file, _ = export_run(workspace, run, None, None, tmp_path / "x.safetensors")
    said = read_metadata(file)
    assert said["ss_network_module"] == "networks.lora" and said["ss_network_dim"] == "4" and said["ss_network_alpha"] == "8"
    assert said["modelspec.architecture"] == "stable-diffusion-v1/lora" and said["ss_base_model_version"] == "sd_v1"
    for must in ("sai_model_spec", "implementation", "title", "resolution"):
        assert said[f"modelspec.{must}"]
    assert said["ss_num_train_images"] == "8"
    assert json.loads(said["studio.recipe"])["train"]["steps"] == 8
    card = (tmp_path / "x.card.md").read_text()
    assert "8 pictures to train on, 2 held out" in card and "max difference" in card and "OpenRAIL" in card


def test_equal_exports_are_equal_bytes_with_a_sorted_header(finished, tmp_path):
    workspace, run = finished
    files = [export_run(workspace, run, None, None, tmp_path / name / "x.safetensors")[0] for name in ("a", "b")]
    first, second = (f.read_bytes() for f in files)
    assert first == second
    (length,) = struct.unpack("<Q", first[:8])
    header = json.loads(first[8 : 8 + length])
    said = list(header.pop("__metadata__"))
    assert said == sorted(said) and length % 8 == 0
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o644


def test_what_exists_is_not_overwritten(finished, tmp_path):
    workspace, run = finished
    taken = tmp_path / "x.safetensors"
    taken.write_bytes(b"precious")
    with pytest.raises(StudioError, match="exists already"):
        export_run(workspace, run, None, None, taken)
    card = tmp_path / "y.card.md"
    card.write_bytes(b"precious")
    with pytest.raises(StudioError, match="exists already"):
        export_run(workspace, run, None, None, tmp_path / "y.safetensors")
    assert taken.read_bytes() == card.read_bytes() == b"precious" and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(("layout", "name"), [("gguf", "x.safetensors"), ("kohya", "x.ckpt"), ("kohya", "x")])
def test_impossible_targets_are_refused(finished, tmp_path, layout, name):
    workspace, run = finished
    with pytest.raises(StudioError, match="--format|--out"):
        export_run(workspace, run, layout, None, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_snapshot_can_be_exported(finished, tmp_path):
    workspace, run = finished
    step = run.spec().train.snapshot_steps[0]
    file, _ = export_run(workspace, run, None, step, tmp_path / "x.safetensors")
    assert read_metadata(file)["studio.step"] == str(step)
    with pytest.raises(StudioError, match="no snapshot of step 999"):
        export_run(workspace, run, None, 999, tmp_path / "y.safetensors")


def test_weights_inside_a_run_carry_no_metadata(finished):
    _, run = finished
    for file in run.folder.rglob("*.safetensors"):
        assert read_metadata(file) == {}


def test_tensors_to_bytes_is_the_format():
    from safetensors.torch import load

    tensors = {"b": torch.arange(6.0).view(2, 3), "a": torch.ones(3, dtype=torch.float16)}
    back = load(tensors_to_bytes(tensors, {"z": "1", "ä": "東京", "a": "x" * 1000}))
    assert all(torch.equal(back[k], v) for k, v in tensors.items())


def test_the_run_folder_describes_itself(finished):
    _, run = finished
    names = {p.name for p in run.folder.iterdir()}
    assert names >= {
        "spec.json",
        "origin.json",
        "status.json",
        "events.jsonl",
        "previews",
        "snapshots",
        "resume",
        "adapter.safetensors",
        "scores.json",
    }
    origin = json.loads((run.folder / "origin.json").read_text())
    assert len(origin["data"]) == 10 and {"base", "packages", "device"} <= origin.keys()
    events = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
    kinds = [e["kind"] for e in events]
    assert kinds.count("step") == 8 and kinds[-1] == "finished" and "score" in kinds and "preview" in kinds
    assert events[-1]["peak_memory_gib"] > 0.1
