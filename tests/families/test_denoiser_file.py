"""Transformers alone in one file, under their original names: loaded beside a model folder, tensor for tensor."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio import registry
from studio.errors import StudioError
from studio.families.assembly import assemble
from studio.jobs.export.exporting import export_run
from studio.jobs.plan.estimate import estimate
from studio.jobs.runs.create import Request, create_run
from studio.jobs.runs.identity import base_identity
from studio.models.bases import find_base
from studio.recipes import Choice, resolve
from studio.store import Workspace
from tests.fixtures.original_names import lumina_to_original, to_original
from tests.fixtures.runs import carry_out, dataset
from tests.fixtures.tiny_flow import MODELS, tiny

CPU = torch.device("cpu")
SMALL = ["train.steps=2", "train.batch_size=2", "method.rank=2", "method.lr=0.01", "evaluate.num_timesteps=2", "preview.every=0"]


def put(folder, file, change=to_original, prefix=""):
    """A file with the transformer of a model folder, under other names."""
    state = change(load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors"))
    save_file({prefix + n: t.contiguous() for n, t in state.items()}, file)
    return file


@pytest.mark.parametrize("name", ["flux", "flux schnell", "chroma", "z_image", "lumina2"])
def test_it_is_the_same_model_as_the_folder(name, tmp_path):
    row = MODELS[name]
    theirs, rest = tiny(row.build, tmp_path / "theirs", seed=1), tiny(row.build, tmp_path / "shelf" / "rest")
    family, files, change = registry.family(row.family), {}, lumina_to_original if name == "lumina2" else to_original
    files["original"] = put(theirs, tmp_path / "shelf" / "tuned.safetensors", change)
    files["as ComfyUI saves it"] = put(theirs, tmp_path / "shelf" / "comfy.safetensors", change, prefix="model.diffusion_model.")
    files["as averages of training"] = put(theirs, tmp_path / "shelf" / "ema.safetensors", change, prefix="ema.")
    files["as training in several processes"] = put(
        theirs, tmp_path / "shelf" / "module.safetensors", change, prefix="module.model.diffusion_model."
    )
    files["diffusers"] = put(theirs, tmp_path / "shelf" / "ours.safetensors", dict)
    wanted = family.load(theirs, torch.float32, CPU).modules["transformer"].state_dict()
    for told, file in files.items():
        base = find_base(str(file))
        assert (base.family, base.folder) == (row.family, rest)
        parts = family.load(base.path, torch.float32, CPU)
        state = parts.modules["transformer"].state_dict()
        assert state.keys() == wanted.keys() and all(torch.equal(state[key], value) for key, value in wanted.items()), told
        assert base.shape_px == (parts.facts.size_px, parts.facts.pixel_multiple)
        assert parts.source == file and not any(p.requires_grad for p in parts.modules["transformer"].parameters())


def test_a_dev_file_beside_a_schnell_folder_is_dev(tmp_path):
    dev = tiny(MODELS["flux"].build, tmp_path / "dev")
    tiny(MODELS["flux schnell"].build, tmp_path / "shelf" / "schnell")
    file = put(dev, tmp_path / "shelf" / "tuned.safetensors")
    parts = registry.family("flux").load(file, torch.float32, CPU)
    assert parts.facts.title == "FLUX.1 dev" and parts.modules["transformer"].config.guidance_embeds


def test_what_is_missing_is_said(tmp_path):
    folder = tiny(MODELS["flux"].build, tmp_path / "shelf" / "rest")
    (tmp_path / "alone").mkdir()
    file = put(folder, tmp_path / "alone" / "tuned.safetensors")
    with pytest.raises(StudioError, match="put a diffusers folder of FLUX.1 dev beside it"):
        find_base(str(file))
    workspace, beside = Workspace.at(tmp_path / "workspace"), put(folder, tmp_path / "shelf" / "tuned.safetensors")
    assert assemble(beside).rest == folder and assemble(folder) is None
    before = base_identity(beside, workspace)
    config = folder / "text_encoder_2" / "config.json"
    config.write_text(config.read_text() + "\n")
    assert base_identity(beside, workspace) != before, "other encoders are another base"
    short = put(folder, tmp_path / "shelf" / "short.safetensors", lambda s: {n: t for n, t in to_original(s).items() if "txt_in" not in n})
    with pytest.raises(StudioError, match="short.safetensors: 2 of the transformer's .* missing, first context_embedder"):
        registry.family("flux").load(find_base(str(short)).path, torch.float32, CPU)


def test_it_is_trained_and_costs_what_its_folder_costs(tmp_path):
    workspace = Workspace.at(tmp_path / "workspace")
    data = dataset(workspace, tmp_path / "pictures", 5)
    theirs, rest = tiny(MODELS["chroma"].build, tmp_path / "theirs", seed=1), tiny(MODELS["chroma"].build, tmp_path / "shelf" / "rest")
    file = put(theirs, tmp_path / "shelf" / "tuned.safetensors")
    alone, whole = ({"base": find_base(str(place))} for place in (file, rest))
    for told in (alone, whole):
        told["spec"] = resolve(Choice(data, told["base"], settings=SMALL))
        told["cost"] = estimate(workspace, told["spec"], data, told["base"])
    assert {k: alone["cost"][k] for k in ("seconds", "memory_gib")} == {k: whole["cost"][k] for k in ("seconds", "memory_gib")}
    run = carry_out(create_run(workspace, Request(data.root.name, str(file), settings=SMALL)))
    _, verified = export_run(workspace, run, None, None, tmp_path / "adapter.safetensors")
    assert verified.layers == verified.expected > 0


def test_a_file_that_only_a_folder_completes_finds_it_near_and_in_the_hubs_cache(tmp_path, monkeypatch):
    cache = tmp_path / "hub" / "models--someone--sana"
    monkeypatch.setenv("HF_HUB_CACHE", str(cache.parent))
    rest = tiny(MODELS["sana"].build, tmp_path / "sana")
    file = tmp_path / "models" / "diffusion_models" / "mine" / "tuned.safetensors"
    file.parent.mkdir(parents=True)
    put(rest, file, dict)
    with pytest.raises(
        StudioError, match="folder diffusers next to mine; one in the hub's cache is found by itself .models get Eff"
    ) as told:
        find_base(str(file))
    assert str(file) in str(told.value) and "\n" not in str(told.value)
    (cache / "snapshots").mkdir(parents=True)
    rest.rename(cache / "snapshots" / "0123")
    assert assemble(file).rest == cache / "snapshots" / "0123"
    near = file.parents[2] / "diffusers" / "sana"
    near.parent.mkdir()
    (cache / "snapshots" / "0123").rename(near)
    base = find_base(str(file))
    parts = registry.family("sana").load(base.path, torch.float32, CPU)
    assert (base.family, base.folder) == ("sana", near) and not any(p.is_meta for p in parts.modules["transformer"].parameters())
