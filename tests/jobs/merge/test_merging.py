"""Merging: an adapter in its base's weights draws what both draw; adapters together are their sum; a resized one tells what it lacks."""

import json
import os
import shutil

import pytest
import torch
from typer.testing import CliRunner

from studio.cli import app
from studio.errors import StudioError
from studio.export.verify import distance, outputs
from studio.families import sd
from studio.jobs.merge.merging import Member, carry_out, combine, merge, shrink
from studio.jobs.processes.supervisor import spawn
from studio.methods.lora_arithmetic import difference, resize, together
from studio.models.bases import find_base
from studio.store import read_tensors, stream_tensors, write_json, write_tensors
from tests.fixtures.tiny import tiny_sd_four_level, to_single_file
from tests.jobs.conftest import carry_out_here
from tests.methods.test_foreign import a_mixed_file
from tests.methods.test_imports import numbers


@pytest.fixture(scope="module")
def files(shop, two_runs, tmp_path_factory):
    """The adapters of two runs of different ranks, as kohya and as diffusers files."""
    from studio.jobs.export.exporting import export_run

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


@pytest.fixture(scope="module")
def odd_file(tiny_folder, tmp_path_factory):
    """(a file with DoRA, LoHa and differences of weights, the tensors that it makes of the base)."""
    file, wanted = a_mixed_file(sd.load(tiny_folder, torch.float32, torch.device("cpu")))
    path = tmp_path_factory.mktemp("odd") / "odd.safetensors"
    write_tensors(path, file)
    return path, wanted


def test_what_no_method_makes_is_merged_by_its_formula(shop, odd_file, tmp_path, tiny_folder):
    path, wanted = odd_file
    merged = merge(shop, Member(str(path)), str(tiny_folder), tmp_path / "merged")
    came = read_tensors(merged.file / "unet" / "diffusion_pytorch_model.safetensors")
    base = read_tensors(tiny_folder / "unet" / "diffusion_pytorch_model.safetensors")
    assert came.keys() == base.keys() and merged.about["changed"] == len(wanted) == 5
    for name, tensor in came.items():
        torch.testing.assert_close(tensor, wanted.get(name, base[name]))


def shards(folder, place, num=3):
    """A component's weights in fp16, in several files, as large models are kept."""
    tensors = {n: t.half() for n, t in read_tensors(folder / place / "diffusion_pytorch_model.safetensors").items()}
    names = sorted(tensors)
    told = {}
    for i in range(num):
        file = f"diffusion_pytorch_model.fp16-{i + 1:05d}-of-{num:05d}.safetensors"
        write_tensors(folder / place / file, {n: tensors[n] for n in names[i::num]})
        told |= dict.fromkeys(names[i::num], file)
    write_json(folder / place / "diffusion_pytorch_model.safetensors.index.fp16.json", {"metadata": {}, "weight_map": told})
    (folder / place / "diffusion_pytorch_model.safetensors").unlink()


def test_a_base_larger_than_memory_is_merged_without_loading_it(shop, odd_file, tmp_path, tiny_folder, monkeypatch):
    from diffusers import StableDiffusionPipeline

    from studio.families import components
    from studio.jobs.merge import into

    base = shutil.copytree(tiny_folder, tmp_path / "base")
    shards(base, "unet")
    before = {f: f.read_bytes() for f in base.rglob("*.safetensors")}
    monkeypatch.setattr(into, "has_room", lambda base: False)
    monkeypatch.setattr(components, "_load", None)  # no weights of a component are loaded
    told = []
    merged = merge(shop, Member(str(odd_file[0]), 0.5), str(base), tmp_path / "merged", lambda *at: told.append(at))
    assert "too large for this machine's memory" in merged.text and merged.about["precision"] == "float16"
    assert 0 < merged.about["rounding"] < 0.05
    assert {stage for stage, _ in told} == {"loading", "writing", "verifying"} and all(0 <= share <= 1 for _, share in told)
    assert [stage for stage, share in told if share == 0] == ["loading", "writing", "verifying"] and told[-1][1] == 1
    assert len(list((merged.file / "unet").glob("*-of-00003.safetensors"))) == 3
    assert before == {f: f.read_bytes() for f in base.rglob("*.safetensors")}
    pipe = StableDiffusionPipeline.from_pretrained(merged.file, safety_checker=None, use_safetensors=True)
    state, plain = pipe.unet.state_dict(), read_tensors(tiny_folder / "unet" / "diffusion_pytorch_model.safetensors")
    assert state.keys() == plain.keys()
    for name, whole in odd_file[1].items():
        torch.testing.assert_close(state[name].float(), plain[name] + 0.5 * (whole - plain[name]), rtol=2e-3, atol=2e-3)


def test_a_base_in_one_file_becomes_a_folder_in_its_precision(shop, tmp_path):
    folder = tiny_sd_four_level(tmp_path / "four")
    file, plain = (
        to_single_file(folder, dtype=torch.bfloat16, metadata={"modelspec.resolution": "64x64"}),
        read_tensors(folder / "unet" / "diffusion_pytorch_model.safetensors"),
    )
    names = [n.removesuffix(".weight") for n in plain if n.endswith(("to_q.weight", "conv1.weight"))]
    pairs = {
        n: (numbers(2, *plain[f"{n}.weight"].shape[1:], key=i), numbers(plain[f"{n}.weight"].shape[0], 2, key=i + 99))
        for i, n in enumerate(names)
    }
    lora = {
        f"unet.{n}.lora_{x}.weight": t
        for n, (down, up) in pairs.items()
        for x, t in (("A", down), ("B", up.view(*up.shape, *[1] * (down.ndim - 2))))
    }
    write_tensors(tmp_path / "lora.safetensors", lora)
    merged = merge(shop, Member(str(tmp_path / "lora.safetensors"), 0.1), str(file), tmp_path / "merged")
    assert merged.about["precision"] == "bfloat16" and merged.about["changed"] == len(names) and "loaded by diffusers" in merged.text
    came = read_tensors(merged.file / "unet" / "diffusion_pytorch_model.safetensors")
    assert came.keys() == plain.keys() and find_base(str(merged.file)).family == "sd"
    for name, (down, up) in pairs.items():
        wanted = plain[f"{name}.weight"] + 0.1 * (up @ down.flatten(1)).view(plain[f"{name}.weight"].shape)
        torch.testing.assert_close(came[f"{name}.weight"].float(), wanted, rtol=1e-2, atol=1e-2)


def test_what_goes_wrong_leaves_nothing(shop, odd_file, tmp_path, tiny_folder, monkeypatch):
    from studio.export import merged as merged_folder

    base = shutil.copytree(tiny_folder, tmp_path / "base")
    shards(base, "unet")
    for strength, reason in (
        (1e6, "its weights are no numbers: lower the strength"),
        (1e-9, "round so small a change away"),
        (0, "changes nothing"),
    ):
        with pytest.raises(StudioError, match=reason):
            merge(shop, Member(str(odd_file[0]), strength), str(base), tmp_path / "merged")
    with pytest.raises(StudioError, match="a merged model is a folder"):
        merge(shop, Member(str(odd_file[0])), str(base), tmp_path / "merged.safetensors")

    def torn(path, told, read, metadata):
        stream_tensors(path, told, lambda name: read(name) * (0 if "conv_out.bias" in name else 1), metadata)

    monkeypatch.setattr(merged_folder, "stream_tensors", torn)
    with pytest.raises(StudioError, match=r"conv_out\.bias did not come back as it was written"):
        merge(shop, Member(str(odd_file[0])), str(base), tmp_path / "merged")
    assert [p.name for p in tmp_path.iterdir()] == ["base"]


def test_a_stopped_merge_leaves_nothing(shop, two_runs, tmp_path):
    request = {"what": "into", "adapters": [{"source": two_runs[0].id}], "name": "stopped"}
    log = tmp_path / "log"
    process = spawn("studio.jobs.merge.merging", str(shop.root), log=log, talking=True)
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
    notes = (json.loads(line)["note"] for line in process.stdout)
    assert any(note.startswith("writing") for note in notes), log.read_text()
    process.terminate()
    assert process.wait(60) and not [p for p in shop.models.iterdir() if p.name.startswith((".tmp", "stopped"))], log.read_text()
    process.stdin.close()
    process.stdout.close()


def test_what_is_no_adapter_for_this_base_is_named_with_its_file(shop, tmp_path, tiny_folder):
    layer, up = "lora_unet_double_blocks_0_img_attn_qkv", torch.ones(96, 2)
    write_tensors(tmp_path / "flux.safetensors", {f"{layer}.lora_down.weight": torch.ones(2, 32), f"{layer}.lora_up.weight": up})
    parts = {f"lora_unet_mid_block_attentions_0_proj_in.{part}.weight": torch.ones(4, 4) for part in ("a1", "a2", "b1", "b2")}
    write_tensors(tmp_path / "glora.safetensors", parts)
    (tmp_path / "empty").mkdir()
    for name, reason in (
        ("flux.safetensors", "flux.safetensors: none of its 1 layers is on this base model"),
        ("glora.safetensors", "glora.safetensors: its 1 layers are of a kind that is not read: use a LoRA, LoHa or LoKr"),
        ("empty", "empty: no adapter_model.safetensors in this folder"),
    ):
        with pytest.raises(StudioError, match=reason):
            merge(shop, Member(str(tmp_path / name)), str(tiny_folder), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_of_several_adapters_one_goes_into_a_base(shop):
    for what in ("into", "resize"):
        with pytest.raises(StudioError, match="this takes one adapter"):
            carry_out(shop, {"what": what, "adapters": [{"source": "a"}, {"source": "b"}], "name": "x"}, print)


def test_what_a_killed_merge_left_is_taken_away_by_the_next(shop, two_runs, tmp_path):
    import subprocess
    import sys

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for name in (f".tmp-{gone.pid}-x", f".tmp-{os.getpid()}-x", ".tmp-other"):
        (tmp_path / name).mkdir()
    combine(shop, [Member(two_runs[0].id), Member(two_runs[1].id)], "", tmp_path / "both.safetensors")
    assert {p.name for p in tmp_path.iterdir()} == {f".tmp-{os.getpid()}-x", ".tmp-other", "both.safetensors"}


def test_adapters_of_a_base_larger_than_memory_are_compared_by_their_tensors(shop, two_runs, tmp_path, monkeypatch):
    from studio.families import components
    from studio.jobs.merge import merging

    monkeypatch.setattr(merging, "has_room", lambda base: False)
    monkeypatch.setattr(components, "_load", None)
    both = combine(shop, [Member(two_runs[0].id), Member(two_runs[1].id, 0.5)], "", tmp_path / "both.safetensors")
    assert "compared by its tensors" in both.text and both.about["rank"] == 7
    small = shrink(shop, Member(str(both.file)), two_runs[0].spec().base.source, 3, tmp_path / "small.safetensors")
    assert small.about["was"] == 7 and small.about["layers"] == both.about["layers"]


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
        (("combine", files[0], f"{files[1]}=nan", "--out", tmp_path / "x.safetensors", "--base", base), "strength nan: give one between"),
        (
            ("combine", files[0], f"{files[1]}=1e5", "--out", tmp_path / "x.safetensors", "--base", base),
            "strength 100000: give one between -1000 and 1000",
        ),
        (("combine", files[0], f"{files[1]}=0", "--out", tmp_path / "x.safetensors", "--base", base), "at strength 0 this adapter changes"),
        (
            ("combine", files[0], f"{files[0]}=-1", "--out", tmp_path / "x.safetensors", "--base", base),
            "change nothing, for their strengths",
        ),
        (("combine", *files, "--out", tmp_path / "x.txt", "--base", base), "an adapter is a file: give a name that ends in .safetensors"),
        (("resize", files[0], "--rank", "900", "--base", base, "--out", tmp_path / "x.safetensors"), "has no more than rank 64: use at"),
        (("merge", files[0], "--base", base, "--strength", "nan", "--out", tmp_path / "m"), "strength nan: give one between -1e+06"),
        (("merge", files[0], "--base", base, "--out", f"{base}/inside"), "in the folder of the base, which stays as it is"),
        (("merge", tmp_path / "none.safetensors", "--base", base, "--out", tmp_path / "m"), "no such file"),
        (("merge", tmp_path / "small.safetensors", "--base", "starter", "--out", tmp_path / "m"), "layers"),
    ):
        answer, said = run(*words)
        assert answer.exit_code == 2 and reason in said["error"], said
    odd = shutil.copy(files[1], tmp_path / "x=2.safetensors")
    answer, told = run("combine", f"{files[0]}=1000", odd, "--base", base, "--out", tmp_path / "odd.safetensors")
    assert answer.exit_code == 0 and told["rank"] == 7, told
    assert not list(tmp_path.glob(".tmp-*")) and not (tmp_path / "x.safetensors").exists()


def test_what_cannot_be_merged_is_said(shop, tiny_folder, tmp_path):
    word = carry_out_here(_word(shop, tiny_folder))
    with pytest.raises(StudioError, match="a learned word is a file beside it"):
        merge(shop, Member(word.id), "", tmp_path / "m")


def _word(shop, base):
    from studio.jobs.runs.create import Request, create_run

    settings = [
        "train.steps=2",
        "train.batch_size=2",
        "train.snapshot_every=2",
        "evaluate.num_timesteps=2",
        "preview.every=0",
        "method.embedding_lr=0.05",
    ]
    return create_run(shop, Request("shapes", str(base), "textual-inversion", name="word", settings=settings))
