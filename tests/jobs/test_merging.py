"""Merging: an adapter in its base's weights draws what both draw; adapters together are their sum; a resized one tells what it lacks."""

import json

import pytest
import torch
from typer.testing import CliRunner

from studio.cli import app
from studio.errors import StudioError
from studio.export.verify import distance, outputs
from studio.families import sd
from studio.jobs.merging import Member, merge
from studio.methods.lora_arithmetic import difference, resize, together
from studio.models import find_base
from studio.store import read_tensors
from tests.jobs.conftest import carry_out_here


@pytest.fixture(scope="module")
def files(shop, two_runs, tmp_path_factory):
    """The adapters of two runs of different ranks, as kohya and as diffusers files."""
    from studio.jobs.tasks import export_run

    folder = tmp_path_factory.mktemp("adapters")
    return [
        str(export_run(shop, r, f, None, folder / f"{f}.safetensors")[0]) for r, f in zip(two_runs, ("kohya", "diffusers"), strict=True)
    ]


def a_state(rank, seed, layers=("unet.a", "unet.b")):
    rng = torch.Generator().manual_seed(seed)
    return {f"{n}.lora_{x}.weight": torch.randn(*s, generator=rng) for n in layers for x, s in (("A", (rank, 12)), ("B", (9, rank)))}


def test_together_is_the_sum():
    members = [(a_state(2, 0), 0.5), (a_state(3, 1, ("unet.b", "unet.c")), -1.0)]
    state, rank = together(members)
    assert rank == 5 and difference(state, members) < 1e-6
    assert difference(state, [members[0], (members[1][0], 1.0)]) > 0.1
    with pytest.raises(StudioError, match="different base models"):
        together([(a_state(2, 0), 1.0), ({n: t[:, :5] if "_A" in n else t for n, t in a_state(2, 0).items()}, 1.0)])


@pytest.mark.parametrize("rank", [1, 3, 6, 8])
def test_resizing_is_the_truncated_svd(rank):
    state = a_state(6, 2)
    small, error = resize(state, rank)
    whole = lost = 0.0
    for layer in ("unet.a", "unet.b"):
        change = state[f"{layer}.lora_B.weight"].double() @ state[f"{layer}.lora_A.weight"].double()
        left = change - small[f"{layer}.lora_B.weight"].double() @ small[f"{layer}.lora_A.weight"].double()
        values = torch.linalg.svdvals(change)
        torch.testing.assert_close(left.norm(), values[rank:].norm() if rank < len(values) else left.new_zeros(()), atol=1e-5, rtol=1e-5)
        whole, lost = whole + float(change.square().sum()), lost + float(left.square().sum())
        assert small[f"{layer}.lora_A.weight"].shape[0] == rank
    assert error == pytest.approx((lost / whole) ** 0.5, abs=1e-6) and (error < 1e-6) == (rank >= 6)


def test_a_merged_model_is_a_base_that_draws_what_both_draw(shop, two_runs, files, tmp_path, tiny_folder):
    merged = merge(shop, Member(files[0], 0.7), str(tiny_folder), tmp_path / "merged")
    assert "verified" in merged.text and merged.about["layers"].split("/")[0] == merged.about["layers"].split("/")[1].split()[0]
    cpu = torch.device("cpu")
    theirs = outputs(sd, sd.load(merged.file, torch.float32, cpu))
    parts = sd.load(find_base(str(tiny_folder)).path, torch.float32, cpu)
    base = outputs(sd, parts)
    from studio.methods import several

    adapter = several.attach(parts, two_runs[0].spec().methods, sd.card, 0)
    adapter.restore(read_tensors(two_runs[0].adapter))
    with adapter.at([0.7]):
        both = outputs(sd, parts)
    assert distance(theirs, both) < 1e-4 < 1e-3 < distance(both, base)
    assert find_base(str(merged.file)).family == "sd"
    text = (merged.file / "README.md").read_text()
    assert "kohya" in text and str(tmp_path) not in text
    with pytest.raises(StudioError, match="something is there already"):
        merge(shop, Member(files[0]), str(tiny_folder), merged.file)


def test_half_precision_stays_half(shop, files, tmp_path, tiny_folder):
    from diffusers import StableDiffusionPipeline

    StableDiffusionPipeline.from_pretrained(tiny_folder, safety_checker=None, torch_dtype=torch.float16).save_pretrained(tmp_path / "half")
    merged = merge(shop, Member(files[0], 1.0), str(tmp_path / "half"), tmp_path / "merged")
    kinds = {t.dtype for t in read_tensors(merged.file / "unet" / "diffusion_pytorch_model.safetensors").values()}
    assert kinds == {torch.float16} and merged.about["precision"] == "float16"


def test_runs_and_files_become_one_adapter_and_a_smaller_one(shop, two_runs, files, tmp_path):
    """By the commands, as people do it."""

    def run(*words):
        answer = CliRunner().invoke(app, ["models", *map(str, words), "--workspace", str(shop.root), "--json"])
        return answer, json.loads(answer.output.splitlines()[-1])

    answer, told = run("combine", two_runs[0].id, f"{files[1]}=0.5", "--out", tmp_path / "both.safetensors")
    assert answer.exit_code == 0 and told["rank"] == 4 + 3, told
    assert "in one of rank 7" in told["text"] and (tmp_path / "both.safetensors").is_file()
    base = two_runs[0].spec().base.source
    answer, small = run("resize", tmp_path / "both.safetensors", "--rank", "2", "--base", base, "--out", tmp_path / "small.safetensors")
    assert answer.exit_code == 0 and small["was"] == 7 and 0 < small["error"] < 1 and "of the change of weights is lost" in small["text"]
    answer, same = run("resize", tmp_path / "both.safetensors", "--rank", "7", "--base", base, "--out", tmp_path / "same.safetensors")
    assert answer.exit_code == 0 and same["error"] < 1e-5
    for words, reason in (
        (("resize", tmp_path / "both.safetensors", "--rank", "2", "--out", tmp_path / "x.safetensors"), "--base: say which base"),
        (("combine", two_runs[0].id, "--out", tmp_path / "x.safetensors"), "two adapters or more"),
        (("combine", files[0], f"{files[1]}=much", "--out", tmp_path / "x.safetensors"), "write a strength as"),
        (("merge", tmp_path / "none.safetensors", "--base", base, "--out", tmp_path / "m"), "no such file"),
        (("merge", tmp_path / "small.safetensors", "--base", "starter", "--out", tmp_path / "m"), "layers"),
    ):
        answer, said = run(*words)
        assert answer.exit_code == 2 and reason in said["error"], said
    assert not list(tmp_path.glob(".tmp-*")) and not (tmp_path / "x.safetensors").exists()


def test_what_cannot_be_merged_is_said(shop, tiny_folder, tmp_path):
    word = carry_out_here(_word(shop, tiny_folder))
    with pytest.raises(StudioError, match="a learned word is a file beside it"):
        merge(shop, Member(word.id), "", tmp_path / "m")


def _word(shop, base):
    from studio.jobs.create import Request, create_run

    settings = [
        "train.steps=2",
        "train.batch_size=2",
        "train.snapshot_every=2",
        "evaluate.num_timesteps=2",
        "preview.every=0",
        "method.embedding_lr=0.05",
    ]
    return create_run(shop, Request("shapes", str(base), "textual-inversion", name="word", settings=settings))
