"""Memory plans of every family at its published size: what is done on 8 GB, what is said where nothing helps, and that it is obeyed."""

import json
import re
from dataclasses import replace
from itertools import product

import pytest
import torch

from studio import extras, registry
from studio.encode.build import Encoder
from studio.encode.cache import Cache
from studio.families import sd
from studio.jobs.models.listing import list_models
from studio.jobs.plan import planning
from studio.jobs.runs.create import Request, create_run, settle
from studio.methods import full, lora
from studio.models.bases import find_base
from studio.models.facts import GIB, Memory
from studio.models.memory_plan import Ask, Drawing, plan, plan_drawing
from studio.models.sizes import QUANTISED, Sizes, read_sizes
from studio.sample.pair import Sampling, Shot, draw
from studio.store import Workspace, read_tensors, write_json
from studio.train.memory import draw_so, obey
from tests.fixtures.real_sizes import REAL, real_folder
from tests.fixtures.runs import carry_out, dataset
from tests.fixtures.shelf import SDXL, sparse_safetensors

FIT_8 = {  # without the extra that keeps bases in few bits: those that train on 8 GB, one picture of 1024 px (or their own 512) at a time
    "sd15", "sdxl", "sd3", "pixart", "sana", "lumina2",
}  # fmt: skip
FEW_BITS_8 = {"flux2": 8, "z_image": 4}  # those that do with it -> bits of the base, at 1024 px
TRAINED = {  # millions of numbers of a LoRA of rank 16 on attention and feed-forward, counted by hand from widths and depths
    "flux": 65.4, "z_image": 39.7, "qwen_image": 106.2, "sd3": 20.9, "flux2": 24.1,
}  # fmt: skip


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """{name: folder} of all families at their real sizes."""
    root = tmp_path_factory.mktemp("real")
    return {name: real_folder(root / name, name) for name in REAL}


@pytest.fixture(scope="module")
def sizes(shelf):
    """{name: sizes} as they are read from the headers."""
    return {name: read_sizes(folder, registry.family(find_base(str(folder)).family).card) for name, folder in shelf.items()}


def gpu(gib):
    return Memory(gib, gib, "Test GPU", 2)


def ask(one, **more):
    return Ask(lora.trained(lora.Spec(), one), **{"batch": 2, **more})


def test_what_an_adapter_has_is_counted_from_shapes(sizes):
    for name, millions in TRAINED.items():
        assert lora.trained(lora.Spec(), sizes[name]) / 1e6 == pytest.approx(millions, abs=0.1), name
    one = sizes["flux"]
    assert lora.trained(lora.Spec(rank=4), one) * 4 == lora.trained(lora.Spec(), one)
    assert lora.trained(lora.Spec(targets="attention"), one) / 1e6 == pytest.approx(26.1, abs=0.1)
    assert lora.trained(lora.Spec(targets="to_q"), one) == lora.trained(lora.Spec(), one), "of names alone at most all"
    assert full.trained(full.Spec(), one) == one.denoiser


def test_what_is_counted_as_kept_in_few_bits_is_what_is_quantised(sizes, shelf):
    """`quantise` takes the linear layers of these names: headers and modules have the same numbers."""
    import diffusers
    from accelerate import init_empty_weights

    for name, part in (("flux", "transformer"), ("sdxl", "unet"), ("sana", "transformer")):
        config = json.loads((shelf[name] / part / "config.json").read_text())
        with init_empty_weights():
            module = getattr(diffusers, config["_class_name"]).from_config(config)
        linear = ((n, m) for n, m in module.named_modules() if type(m) is torch.nn.Linear)
        assert sum(m.weight.numel() for n, m in linear if QUANTISED.match(n)) == sizes[name].quantisable > 0, name


def test_a_file_of_xl_is_planned_at_its_own_size(tmp_path):
    file = sparse_safetensors(tmp_path / "x.safetensors", SDXL)
    one = read_sizes(file, registry.family("sdxl").card)
    assert (one.size_px, one.side) == (1024, 128) == (find_base(str(file)).shape_px[0], one.side)


@pytest.mark.parametrize("name", REAL)
def test_the_plan_for_eight_gigabytes(sizes, name):
    one = sizes[name]
    plain, few = (plan(one, ask(one, can_quantise=q), gpu(8)) for q in (False, True))
    assert plain.fits == (name in FIT_8) and plain.bits == 16
    assert (few.bits if few.fits and few.bits < 16 else None) == FEW_BITS_8.get(name)
    assert few.fits == (name in FIT_8 or name in FEW_BITS_8)
    assert plain.text_on_host == (one.text_encoders * 2 / GIB > 7), "text encoders that fit come to the device, others never do"
    assert ("read by the processor" in plain.words()) == plain.text_on_host
    for made in (plain, few):
        weights = (one.denoiser - (one.quantisable if made.bits < 16 else 0)) * 2 / GIB
        assert weights - 0.001 < made.parts_gib["base"] < one.denoiser * 2 / GIB + 0.001, "what stays whole, and not more than all"
        assert made.peak_gib == pytest.approx(sum(made.parts_gib.values()), abs=0.01), "the parts make the whole"
    roomy = plan(one, ask(one), gpu(200))
    assert roomy.fits and not roomy.checkpointing and roomy.micro_batch is None and not roomy.text_on_host


@pytest.mark.parametrize("name", REAL)
def test_pictures_are_drawn_in_eight_gigabytes(sizes, name):
    one = sizes[name]
    plain, few = (plan_drawing(one, 1024, 1, 2, 8 * GIB, q) for q in (False, True))
    assert plain.fits == (one.denoiser * 2.2 / GIB < 7.9) and few.fits == (name != "qwen_image")
    assert few.bits == (16 if plain.fits else 4 if name in {"flux", "chroma", "qwen_image"} else 8)
    assert plain.text_on_host == (one.text_encoders * 2.2 / GIB > 8) and plan_drawing(one, 1024, 1, 2, 100 * GIB).words() == ""


def test_smaller_pictures_and_parts_of_a_batch_come_before_fewer_bits(sizes):
    one = sizes["sdxl"]
    cut = plan(one, ask(one, batch=8, can_quantise=True), gpu(8))
    assert (cut.micro_batch, cut.checkpointing, cut.bits, cut.fits) == (1, True, 16, True) and "parts of 1" in cut.words()
    asked = plan(one, ask(one, batch=8, micro_batch=4), gpu(8))
    assert not asked.fits and asked.micro_batch is None, "what is asked for is done"
    assert plan(one, ask(one, batch=8), Memory(8, 8, "this machine", 4)).micro_batch is None
    assert plan(one, ask(one, size_px=512), gpu(8)).micro_batch is None


@pytest.fixture
def small_gpu(tmp_path):
    """A workspace with pictures, on a machine whose GPU has 8 GB."""
    workspace = Workspace.at(tmp_path / "workspace")
    dataset(workspace, tmp_path / "given", 4)
    write_json(workspace.cache / "machine.json", {"device": "cuda", "name": "Small GPU", "memory_gib": 8.0, "cores": 4})
    return workspace


def dry(workspace, base, *settings):
    from typer.testing import CliRunner

    from studio.cli import app

    words = ["train", "--dataset", "shapes", "--base", str(base), "--dry-run", "--json", "--workspace", str(workspace.root)]
    answer = CliRunner().invoke(app, [*words, *(word for s in settings for word in ("--set", s))])
    return answer, json.loads(answer.output.splitlines()[-1])


def test_the_same_is_said_on_the_command_line_and_by_the_list_of_models(small_gpu, shelf):
    answer, told = dry(small_gpu, shelf["sd3"])
    assert answer.exit_code == 0 and told["fits"] and "gradient checkpointing" in told["plan"] and "read by the processor" in told["plan"]
    assert "pictures: components come to the device one at a time" in answer.output and told["plan"] in answer.output
    answer, told = dry(small_gpu, shelf["z_image"])
    assert answer.exit_code == 1 and "the GPU has 8.0: with the extra quant (" in told["reason"] and "it would need about" in told["reason"]
    assert "; even so they do not fit this GPU" in answer.output
    answer, told = dry(small_gpu, shelf["qwen_image"])
    assert not told["fits"] and "choose a smaller base" in told["reason"]
    answer, told = dry(small_gpu, shelf["sdxl"], "train.micro_batch=1", "train.gradient_checkpointing=off")
    gentle = "the GPU has 8.0: with train.gradient_checkpointing=auto it would need about 7.5 GiB"
    assert not told["fits"] and told["reason"].endswith(gentle), told["reason"]
    assert "and base.size_px=512 it would" in dry(small_gpu, shelf["flux"], "method.rank=4")[1]["reason"]
    rows = {row["model"]: row for row in list_models(small_gpu, [shelf[n].parent for n in ("sdxl",)])}
    assert rows["sd3"]["fits"] and "(gradient checkpointing" in rows["sd3"]["fit"]
    assert not rows["z_image"]["fits"] and rows["z_image"]["do"].startswith("keep it in 4 bits, as which it needs about")
    assert "choose a smaller base" in rows["qwen_image"]["do"]


FIXED = {  # what a person may have set -> on which recipe
    "nothing": ("lora", ()),
    "what costs most": ("lora", ("train.gradient_checkpointing=off", "train.offload=off", "train.recorded=on", "train.micro_batch=4")),
    "whole numbers": ("lora", ("train.base_bits=16", "method.rank=128", "base.size_px=1024")),
    "all of it": ("full", ("base.size_px=1024",)),
}


@pytest.mark.parametrize("fixed", FIXED)
def test_a_way_out_that_is_named_is_one(small_gpu, shelf, fixed, monkeypatch):
    """Every proposal, on every card, taken by the words it is told in: the plan then fits, in as much as was told."""
    recipe, settings = FIXED[fixed]
    named = 0
    for name in shelf:
        base = find_base(str(shelf[name]))
        for gib in (6.0, 8.0, 12.0, 16.0, 24.0):
            monkeypatch.setattr(extras, "installed", lambda extra: False)
            write_json(small_gpu.cache / "machine.json", {"device": "cuda", "name": "GPU", "memory_gib": gib, "cores": 4})
            request = Request("shapes", str(base.path), recipe, settings=list(settings))
            spec = settle(small_gpu, request)[0]
            told = planning.way_out(small_gpu, spec, base)
            if planning.plan_of(small_gpu, spec, base).fits or not told:
                continue
            said, needs = re.fullmatch(r"with (.+) it would need about ([\d.]+) GiB", told).groups()
            monkeypatch.setattr(extras, "installed", lambda extra, is_named="the extra quant" in said: is_named)
            request.settings += re.findall(r"\b[a-z]+\.[a-z_]+=\w+", said)
            found = planning.plan_of(small_gpu, settle(small_gpu, request)[0], base)
            assert found.fits and float(needs) == pytest.approx(found.peak_gib, abs=0.06) and found.peak_gib <= gib, (
                name,
                gib,
                told,
                found,
            )
            named += 1
    assert named >= 2


@pytest.mark.parametrize("name", REAL)
def test_more_memory_and_smaller_pictures_always_fit_too(sizes, name):
    one = sizes[name]
    choices = {"can_quantise": (False, True), "batch": (1, 4), "checkpointing": ("auto", "off"), "offload": ("auto", "off")}
    for values in product(*choices.values(), ("auto", "on"), (False, True)):
        wanted = ask(one, **dict(zip((*choices, "recorded", "text_is_live"), values, strict=True)))
        fits = {(gib, px): plan(one, replace(wanted, size_px=px), gpu(gib)).fits for gib in (6, 8, 12, 16, 24, 48) for px in (512, 1024)}
        for gib, less in ((8, 6), (12, 8), (16, 12), (24, 16), (48, 24)):
            assert all(fits[gib, px] or not fits[less, px] for px in (512, 1024)), (values, gib)
        assert all(fits[gib, 512] or not fits[gib, 1024] for gib in (6, 8, 12, 16, 24, 48)), values


def test_encoders_too_large_for_the_device_read_captions_where_they_wait(tiny_parts, tmp_path):
    plain = Encoder(sd, tiny_parts, "x", Cache(tmp_path / "plain"))
    wanted = plain.cache.read(plain.text("a cat"))
    tiny_parts.device, tiny_parts.host = torch.device("meta"), torch.device("cpu")  # a device on which nothing can be computed
    small = Sizes(1e6, 1e10, 1e6, 64, 512, quantisable=0)
    made = plan(small, Ask(1e4), gpu(8))
    assert made.text_on_host and made.fits
    obey(made, tiny_parts, sd.card)
    encoder = Encoder(sd, tiny_parts, "x", Cache(tmp_path / "apart"))
    found = encoder.cache.read(encoder.text("a cat"))
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    assert next(tiny_parts.modules["text_encoder"].parameters()).device.type == "cpu"
    tiny_parts.need("unet")
    assert {n: next(m.parameters()).device.type for n, m in tiny_parts.modules.items()} == {
        "unet": "meta",
        "vae": "cpu",
        "text_encoder": "cpu",
    }


def test_pictures_are_the_same_wherever_captions_are_read(tiny_parts):
    shots = [Shot(sampling=Sampling(prompt="a cat", steps=2, width=16, height=16), strength=0.0)]
    (plain,) = draw(sd, tiny_parts, None, shots, batchable=False)
    tiny_parts.host = torch.device("cpu")
    draw_so(Drawing(by_parts=True, text_on_host=True), tiny_parts, sd.card)
    (apart,) = draw(sd, tiny_parts, None, shots, batchable=False)
    assert tiny_parts.resting == {"text_encoder"} and apart.tobytes() == plain.tobytes()


def test_a_run_cuts_its_batches_as_its_plan_says(tmp_path, tiny_folder):
    workspace = Workspace.at(tmp_path / "workspace")
    dataset(workspace, tmp_path / "given", 5)
    small = ["train.steps=2", "train.batch_size=3", "preview.every=0", "evaluate.num_timesteps=1", "method.rank=2"]
    runs = [
        create_run(workspace, Request("shapes", str(tiny_folder), settings=[*small, *more])) for more in ((), ["train.micro_batch=1"], ())
    ]
    kept = planning.plan_of(workspace, runs[0].spec(), find_base(str(tiny_folder)))
    write_json(runs[0].folder / planning.FILE, kept.record() | {"micro_batch": 1})
    planned, asked, whole = (read_tensors(carry_out(run).adapter) for run in runs)
    assert all(torch.equal(planned[name], asked[name]) for name in asked)
    assert any(not torch.equal(planned[name], whole[name]) for name in asked), "parts add up to the same but for rounding"
    assert planning.read(runs[0]).micro_batch == 1 and runs[0].spec().train.micro_batch is None


def test_a_plan_of_before_is_read(tmp_path, tiny_folder):
    workspace = Workspace.at(tmp_path / "workspace")
    dataset(workspace, tmp_path / "given", 4)
    run = create_run(workspace, Request("shapes", str(tiny_folder)))
    write_json(
        run.folder / planning.FILE, {"checkpointing": True, "offload": False, "bits": 16, "peak_gib": 1.0, "parts_gib": {}, "fits": True}
    )
    assert planning.read(run).checkpointing and planning.read(run).micro_batch is None
