"""Folders whose components are damaged, foreign or hostile: one line that names the file and the way out, and nothing loaded."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio import registry
from studio.errors import StudioError
from studio.models.bases import find_base
from tests.fixtures.tiny_flow import MODELS, kl_vae, tiny

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tiny(MODELS["flux"].build, tmp_path_factory.mktemp("model") / "whole")


def load(folder):
    base = find_base(str(folder))
    return registry.family(base.family).load(base.path, torch.float32, torch.device("cpu"))


def config(part, **values):
    def change(folder):
        file = folder / part
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


def tensors(change):
    return lambda folder: save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)


def cut(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def other_vae(folder):
    shutil.rmtree(folder / "vae")
    kl_vae(8, (4, 8)).save_pretrained(folder / "vae")


def sharded(folder):
    from diffusers import FluxTransformer2DModel

    FluxTransformer2DModel.from_pretrained(folder / "transformer").save_pretrained(folder / "transformer", max_shard_size="60KB")
    (folder / WEIGHTS).unlink(missing_ok=True)


def lost_shard(folder):
    sharded(folder)
    sorted((folder / "transformer").glob("*-0*.safetensors"))[0].unlink()


def outside(folder):
    sharded(folder)
    (file,) = (folder / "transformer").glob("*.index.json")
    index = json.loads(file.read_text())
    file.write_text(json.dumps(index | {"weight_map": dict.fromkeys(index["weight_map"], "../../outside.safetensors")}))


BROKEN = {
    "encoder gone": (lambda f: shutil.rmtree(f / "text_encoder_2"), "text_encoder_2 is missing"),
    "weights gone": (lambda f: (f / "text_encoder" / "model.safetensors").unlink(), "no model.safetensors"),
    "cut short": (cut, WEIGHTS),
    "tokenizer damaged": (lambda f: (f / "tokenizer_2" / "tokenizer.json").write_text("{"), "no tokenizer"),
    "code": (config("text_encoder_2/config.json", auto_map={"AutoModel": "x.Y"}), "asks for code"),
    "kernels": (config("text_encoder_2/config.json", _attn_implementation="someone/kernels"), "asks for code from elsewhere"),
    "huge": (config("transformer/config.json", num_layers=10**9), "num_layers is 1000000000"),
    "wide": (config("text_encoder_2/config.json", d_model=10**9), "d_model is 1000000000"),
    "other class": (config("transformer/config.json", _class_name="SD3Transformer2DModel"), "FluxTransformer2DModel is needed"),
    "other encoder": (config("text_encoder/config.json", model_type="bert"), "this is bert, where clip_text_model is needed"),
    "quantised": (config("transformer/config.json", quantization_config={"quant_method": "bitsandbytes"}), "quantised"),
    "schedule": (config("scheduler/scheduler_config.json", _class_name="DDIMScheduler"), "no noise schedule of a flow"),
    "list of classes": (config("model_index.json", _class_name=["a", "b"]), "custom class"),
    "whole numbers": (tensors(lambda t: {n: v.to(torch.uint8) for n, v in t.items()}), "stored as U8"),
    "tensor gone": (tensors(lambda t: {n: v for n, v in t.items() if n != "proj_out.weight"}), "proj_out.weight"),
    "other vae": (other_vae, "VAE"),
    "shard gone": (lost_shard, "00001-of"),
    "shard outside": (outside, "../../outside.safetensors"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_it_is_refused_with_the_file_and_the_way_out(name, whole, tmp_path):
    change, said = BROKEN[name]
    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    change(folder)
    with pytest.raises(StudioError) as told:
        load(folder)
    line = str(told.value)
    assert said in line and str(folder) in line and "\n" not in line
    assert ("fetch" in line or "use " in line or "put the" in line) and len(line) < 600


def test_shards_and_variants_are_read(whole, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    sharded(folder)
    vae = folder / "vae" / "diffusion_pytorch_model.safetensors"
    vae.rename(vae.with_name("diffusion_pytorch_model.fp16.safetensors"))
    theirs, ours = load(whole), load(folder)
    for name, module in theirs.modules.items():
        again = ours.modules[name].state_dict()
        assert all(torch.equal(again[key], value) for key, value in module.state_dict().items())
