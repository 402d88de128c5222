"""Transformers alone in one file, under their original names: loaded beside a model folder, tensor for tensor."""

import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio import registry
from studio.errors import StudioError
from studio.families.denoiser_file import find_rest
from studio.jobs.create import Request, create_run
from studio.jobs.estimate import estimate
from studio.jobs.identity import base_identity
from studio.jobs.tasks import export_run
from studio.models import find_base
from studio.recipes import Choice, resolve
from studio.store import Workspace
from tests.fixtures.runs import carry_out, dataset
from tests.fixtures.tiny_flow import MODELS, tiny

CPU = torch.device("cpu")
SMALL = ["train.steps=2", "train.batch_size=2", "method.rank=2", "method.lr=0.01", "evaluate.num_timesteps=2", "preview.every=0"]
PLAIN = ("attn.to_q", "attn.to_k", "attn.to_v")
ADDED = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
OF_Z_IMAGE = ("attention.to_q", "attention.to_k", "attention.to_v")
FUSED = (  # (ours, in the order of the rows, theirs)
    (r"transformer_blocks\.(\d+)\.attn\.to_q", PLAIN, "double_blocks.{}.img_attn.qkv"),
    (r"transformer_blocks\.(\d+)\.attn\.add_q_proj", ADDED, "double_blocks.{}.txt_attn.qkv"),
    (r"single_transformer_blocks\.(\d+)\.attn\.to_q", (*PLAIN, "proj_mlp"), "single_blocks.{}.linear1"),
    (r"((?:layers|noise_refiner|context_refiner)\.\d+)\.attention\.to_q", OF_Z_IMAGE, "{}.attention.qkv"),
)  # fmt: skip
RENAMED = (
    (r"^transformer_blocks\.(\d+)\.attn\.norm_added_(q|k)\.weight", r"double_blocks.\1.txt_attn.norm.\2_norm.scale"),
    (r"^transformer_blocks\.(\d+)\.attn\.norm_(q|k)\.weight", r"double_blocks.\1.img_attn.norm.\2_norm.scale"),
    (r"^single_transformer_blocks\.(\d+)\.attn\.norm_(q|k)\.weight", r"single_blocks.\1.norm.\2_norm.scale"),
    (r"\.q_norm\.scale", ".query_norm.scale"),
    (r"\.k_norm\.scale", ".key_norm.scale"),
    (r"^transformer_blocks\.(\d+)\.attn\.to_out\.0", r"double_blocks.\1.img_attn.proj"),
    (r"^transformer_blocks\.(\d+)\.attn\.to_add_out", r"double_blocks.\1.txt_attn.proj"),
    (r"^transformer_blocks\.(\d+)\.ff\.net\.0\.proj", r"double_blocks.\1.img_mlp.0"),
    (r"^transformer_blocks\.(\d+)\.ff\.net\.2", r"double_blocks.\1.img_mlp.2"),
    (r"^transformer_blocks\.(\d+)\.ff_context\.net\.0\.proj", r"double_blocks.\1.txt_mlp.0"),
    (r"^transformer_blocks\.(\d+)\.ff_context\.net\.2", r"double_blocks.\1.txt_mlp.2"),
    (r"^transformer_blocks\.(\d+)\.norm1\.linear", r"double_blocks.\1.img_mod.lin"),
    (r"^transformer_blocks\.(\d+)\.norm1_context\.linear", r"double_blocks.\1.txt_mod.lin"),
    (r"^single_transformer_blocks\.(\d+)\.proj_out", r"single_blocks.\1.linear2"),
    (r"^single_transformer_blocks\.(\d+)\.norm\.linear", r"single_blocks.\1.modulation.lin"),
    (r"^time_text_embed\.timestep_embedder\.linear_1", "time_in.in_layer"),
    (r"^time_text_embed\.timestep_embedder\.linear_2", "time_in.out_layer"),
    (r"^time_text_embed\.text_embedder\.linear_1", "vector_in.in_layer"),
    (r"^time_text_embed\.text_embedder\.linear_2", "vector_in.out_layer"),
    (r"^time_text_embed\.guidance_embedder\.linear_1", "guidance_in.in_layer"),
    (r"^time_text_embed\.guidance_embedder\.linear_2", "guidance_in.out_layer"),
    (r"^(distilled_guidance_layer\.layers\.\d+)\.linear_1", r"\1.in_layer"),
    (r"^(distilled_guidance_layer\.layers\.\d+)\.linear_2", r"\1.out_layer"),
    (r"^(distilled_guidance_layer\.norms\.\d+)\.weight", r"\1.scale"),
    (r"^x_embedder", "img_in"),
    (r"^context_embedder", "txt_in"),
    (r"^proj_out", "final_layer.linear"),
    (r"\.attention\.norm_(q|k)", r".attention.\1_norm"),
    (r"\.attention\.to_out\.0", ".attention.out"),
    (r"^all_x_embedder\.2-1", "x_embedder"),
    (r"^all_final_layer\.2-1", "final_layer"),
)  # fmt: skip


def to_original(state):
    """The tensors of a transformer under the names that its makers gave them."""
    theirs, gone = {}, set()
    for name, value in state.items():
        for pattern, parts, fused in FUSED:
            for kind in ("weight", "bias"):
                if found := re.fullmatch(rf"{pattern}\.{kind}", name):
                    block = name.removesuffix(f"{parts[0]}.{kind}")
                    pieces = [f"{block}{part}.{kind}" for part in parts]
                    theirs[f"{fused.format(found[1])}.{kind}"] = torch.cat([state[p] for p in pieces])
                    gone |= set(pieces)
        if name.startswith("norm_out.linear."):
            theirs[name.replace("norm_out.linear", "final_layer.adaLN_modulation.1")] = torch.cat(value.chunk(2)[::-1])
            gone.add(name)
    for name in state.keys() - gone:
        spelled = name
        for pattern, other in RENAMED:
            spelled = re.sub(pattern, other, spelled)
        theirs[spelled] = state[name]
    return theirs


def put(folder, file, change=to_original, prefix=""):
    """A file with the transformer of a model folder, under other names."""
    state = change(load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors"))
    save_file({prefix + n: t.contiguous() for n, t in state.items()}, file)
    return file


@pytest.mark.parametrize("name", ["flux", "flux schnell", "chroma", "z_image"])
def test_it_is_the_same_model_as_the_folder(name, tmp_path):
    row = MODELS[name]
    theirs, rest = tiny(row.build, tmp_path / "theirs", seed=1), tiny(row.build, tmp_path / "shelf" / "rest")
    family, files = registry.family(row.family), {}
    files["original"] = put(theirs, tmp_path / "shelf" / "tuned.safetensors")
    files["as ComfyUI saves it"] = put(theirs, tmp_path / "shelf" / "comfy.safetensors", prefix="model.diffusion_model.")
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
    assert find_rest(beside) == folder and find_rest(folder) is None
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
