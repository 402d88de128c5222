"""A tuned model taken away: a folder and a file that plain diffusers loads, a base for the studio, and a LoRA taken out of it."""

from dataclasses import replace

import pytest
import torch

from studio import quiet
from studio.dataset.intake import create_dataset
from studio.errors import StudioError
from studio.export.verify import outputs
from studio.families import sd
from studio.jobs.draw.adapted import load_adapted
from studio.jobs.export.exporting import Aid, export_run
from studio.jobs.runs.create import Request, create_run
from studio.methods import layers, lora, targets
from studio.models.bases import find_base
from studio.store import Workspace, read_metadata, read_tensors
from tests.fixtures.runs import carry_out
from tests.fixtures.tiny import images, tiny_sd_four_level

quiet.silence()


def tune(root, base, *more):
    """A finished run of full tuning, with `more` settings: (workspace, run)."""
    workspace = Workspace.at(root / "workspace")
    create_dataset(workspace, "geheim", [images(root / "pictures", 10)])
    settings = [
        "train.steps=6",
        "train.batch_size=2",
        "method.lr=0.002",
        "evaluate.num_timesteps=2",
        "preview.steps=2",
        "train.snapshot_every=2",
        *more,
    ]
    run = create_run(workspace, Request("geheim", str(base), "full", settings=settings))
    return workspace, carry_out(run)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, tiny_folder):
    return tune(tmp_path_factory.mktemp("tuning"), tiny_folder)


def plain(pipe, parts):
    """What a plain diffusers pipeline says, asked as the studio asks its own."""
    modules = {name: getattr(pipe, name).float().eval() for name in parts.modules}
    return outputs(sd, replace(parts, modules=modules, tokenizers={"tokenizer": pipe.tokenizer}))


def close(a, b, tolerance=1e-4):
    return all(float((x - y).abs().max()) <= tolerance for x, y in zip(a, b, strict=True))


def test_a_folder_is_the_tuned_model_for_diffusers_and_a_base_for_the_studio(tuned, tmp_path):
    from diffusers import DiffusionPipeline

    workspace, run = tuned
    out, verified = export_run(workspace, run, None, None, tmp_path / "tuned")
    assert verified.unit == "tensors" and verified.layers == verified.expected > 50 and verified.effect > 10 * verified.max_difference
    adapted = load_adapted(workspace, run, None)
    ours = outputs(sd, adapted.parts)
    assert close(ours, plain(DiffusionPipeline.from_pretrained(out, local_files_only=True), adapted.parts))
    base = find_base(str(out))
    assert base.family == "sd" and close(ours, outputs(sd, sd.load(base.path, torch.float32, torch.device("cpu"))))
    assert "OpenRAIL" in (out / "README.md").read_text() and "Model tuned from" in (out / "README.md").read_text()


def test_nothing_personal_is_in_a_folder(tuned, tiny_folder, tmp_path):
    workspace, run = tuned
    out, _ = export_run(workspace, run, "model", None, tmp_path / "tuned")
    for path in (p for p in out.rglob("*") if p.is_file()):
        data = path.read_bytes()
        for word in ("geheim", str(workspace.root), str(tiny_folder), run.id, "000.png", "triangle"):
            assert word.encode() not in data, f"{word} in {path.name}"


@pytest.mark.parametrize("version", [1, 2])
def test_one_file_has_the_original_names_and_loads_from_local_configs(tmp_path, version):
    from diffusers import StableDiffusionPipeline

    base = tiny_sd_four_level(tmp_path / "base", version=version)
    workspace, run = tune(tmp_path, base, "train.steps=2", "preview.every=0", "evaluate.num_timesteps=1", "evaluate.max_images=2")
    file, verified = export_run(workspace, run, "checkpoint", None, tmp_path / "tuned.safetensors")
    assert verified.layers == verified.expected and not verified.note
    adapted = load_adapted(workspace, run, None)
    pipe = StableDiffusionPipeline.from_single_file(file, config=str(base), local_files_only=True, safety_checker=None)
    assert close(outputs(sd, adapted.parts), plain(pipe, adapted.parts))
    own = sd.load(find_base(str(file)).path, torch.float32, torch.device("cpu"))
    assert own.facts.prediction_type == adapted.parts.facts.prediction_type and own.facts.size_px == 64
    assert close(outputs(sd, adapted.parts), outputs(sd, own))
    assert read_metadata(file)["modelspec.architecture"] == "stable-diffusion-v1"  # told by the width of its text encoder


def test_a_lora_taken_out_says_what_it_lacks_and_lacks_less_at_a_higher_rank(tuned, tmp_path):
    workspace, run = tuned
    lacks = []
    for rank in (1, 8, 64):
        file, verified = export_run(workspace, run, "extracted", None, tmp_path / f"{rank}.safetensors", Aid(rank=rank))
        lacks.append(verified.lacks)
        assert f"lacks {100 * verified.lacks:.1f} %" in str(verified) and str(verified) in (tmp_path / f"{rank}.card.md").read_text()
    assert 1 > lacks[0] > lacks[1] > lacks[2] > 0
    assert read_metadata(file)["ss_network_dim"] == "64"


def test_what_a_lora_lacks_is_what_the_formula_says(tuned, tmp_path):
    """The change of every weight, minus the product in the file, computed from the files alone."""
    workspace, run = tuned
    file, verified = export_run(workspace, run, "extracted", None, tmp_path / "x.safetensors", Aid(rank=4))
    adapted = load_adapted(workspace, run, None)
    first, state = adapted.adapter.first(), {n: t.detach().clone() for n, t in adapted.adapter.state().items()}
    tensors, whole, left = read_tensors(file), 0.0, 0.0
    for name, weight in state.items():
        change = (weight - first[name]).double()
        whole += float(change.square().sum())
        key = "lora_unet_" + name.removeprefix("unet.").removesuffix(".weight").replace(".", "_")
        if name.endswith(".weight") and f"{key}.lora_up.weight" in tensors:
            up, down = (tensors[f"{key}.lora_{part}.weight"].double().flatten(1) for part in ("up", "down"))
            product = (up @ down) * float(tensors[f"{key}.alpha"]) / down.shape[0]
            change = change - product.reshape(change.shape)
        left += float(change.square().sum())
    assert (left / whole) ** 0.5 == pytest.approx(verified.lacks, abs=1e-3)


def test_a_lora_of_full_rank_does_all_that_layers_do(tiny_parts):
    """Where only layers that a LoRA may sit on have changed, nothing is lacking."""
    from studio.methods import extraction, full

    adapter = full.attach(tiny_parts, full.Spec(), sd.card, 0)
    names = targets.find_targets(tiny_parts.modules["unet"], "+".join(sd.card.targets), sd.card.targets)
    rng = torch.Generator().manual_seed(0)
    for name in names:
        weight = adapter.state()[f"unet.{name}.weight"]
        weight.data.add_(torch.randn(weight.shape, generator=rng) * 0.02)
    tuned = {n: t.detach().clone() for n, t in adapter.state().items()}
    ours, first = outputs(sd, tiny_parts), adapter.first()
    adapter.detach()
    found = extraction.extract(tiny_parts, sd.card, first, tuned, 64)
    taken = layers.Adapter(tiny_parts, found.spec, found.targets, lora.KIND, 0, sd.card)
    taken.restore(found.state)
    assert found.error < 1e-3 and close(ours, outputs(sd, tiny_parts), 1e-3)


def test_a_file_whose_words_no_other_program_knows_says_so(tuned, tmp_path):
    workspace, run = tuned
    _, verified = export_run(workspace, run, "checkpoint", None, tmp_path / "x.safetensors")
    assert "its tokenizer is its own" in str(verified) and str(verified) in (tmp_path / "x.card.md").read_text()


def test_wrong_formats_and_names_are_refused(tuned, tmp_path):
    workspace, run = tuned
    with pytest.raises(StudioError, match="there are model, checkpoint, extracted"):
        export_run(workspace, run, "kohya", None, tmp_path / "x.safetensors")
    with pytest.raises(StudioError, match="model writes a folder"):
        export_run(workspace, run, "model", None, tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())
