"""Files are told apart by their headers: against the names that diffusers itself goes by, and against real models of every family."""

import json
import struct
from pathlib import Path

import pytest

from studio.errors import StudioError
from studio.families.header import Header, read_header
from studio.families.signatures import identify, kind_of, refuse_other
from tests.fixtures.shelf import SHELF, mixed_shelf, sparse_safetensors

EXPECTED = {  # the key of diffusers' own table -> what its first name must tell
    "stable_cascade_stage_c": "Stable Cascade", "stable_cascade_stage_b": "Stable Cascade", "sd3": "Stable Diffusion 3",
    "animatediff": "an AnimateDiff motion module", "flux": "FLUX.1 schnell", "flux2": "FLUX.2", "flux3": "FLUX.3", "chroma": "Chroma",
    "ltx-video": "LTX-Video", "mochi-1-preview": "Mochi 1", "hunyuan-video": "HunyuanVideo", "lumina2": "Lumina 2",
    "z-image-turbo": "Z-Image", "wan": "Wan", "wan_vae": "a VAE alone, of Wan or Qwen-Image", "hidream": "HiDream-I1",
    "cosmos-2.0": "Cosmos", "qwen-image-2.1": "Qwen-Image 2.1", "krea2": "Krea 2", "controlnet": "a ControlNet",
    "z-image-turbo-controlnet": "a ControlNet", "autoencoder-dc": "a VAE alone, of Sana (DC-AE)",
}  # fmt: skip
BASES = {  # names of adapters' layers -> (base, layout, kind)
    ("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k", "kohya", 768): ("Stable Diffusion 1.x", "kohya", "LoRA"),
    ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", "kohya", 2048): ("Stable Diffusion XL", "kohya", "LoRA"),
    ("lora_unet_mid_block_attentions_0_transformer_blocks_9_ff_net_2", "kohya", 5120): ("Stable Diffusion XL", "kohya", "LoRA"),
    ("lora_te_text_model_encoder_layers_0_self_attn_q_proj", "kohya", 1024): ("Stable Diffusion 2.x", "kohya", "LoRA"),
    ("lora_te2_text_model_encoder_layers_0_self_attn_q_proj", "kohya", 1280): ("Stable Diffusion XL", "kohya", "LoRA"),
    ("lora_unet_double_blocks_0_img_attn_qkv", "kohya", 3072): ("FLUX.1", "kohya", "LoRA"),
    ("diffusion_model.double_blocks.0.img_attn.qkv", "peft", 6144): ("FLUX.2", "ai-toolkit", "LoRA"),
    ("transformer.single_transformer_blocks.0.attn.to_q", "peft", 3072): ("FLUX.1", "diffusers", "LoRA"),
    ("transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj", "peft", 3072): ("FLUX.2", "diffusers", "LoRA"),
    ("lora_transformer_single_transformer_blocks_0_attn_to_q", "kohya", 3072): ("FLUX.1", "OneTrainer", "LoRA"),
    ("transformer.transformer_blocks.0.attn.add_q_proj", "peft", 1536): ("Stable Diffusion 3", "diffusers", "LoRA"),
    ("lora_unet_transformer_blocks_0_img_mlp_net_0_proj", "kohya", 3072): ("Qwen-Image", "kohya", "LoRA"),
    ("diffusion_model.layers.0.attention.to_q", "peft", 3840): ("Z-Image", "ai-toolkit", "LoRA"),
    ("diffusion_model.layers.0.attention.qkv", "peft", 2304): ("Lumina 2", "ai-toolkit", "LoRA"),
    ("diffusion_model.blocks.0.self_attn.q", "peft", 1536): ("Wan", "ai-toolkit", "LoRA"),
    ("lycoris_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", "loha", 768): ("Stable Diffusion 1.x", "LyCORIS", "LoHa"),
    ("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", "lokr", 2048): ("Stable Diffusion XL", "LyCORIS", "LoKr"),
    ("base_model.model.mid_block.attentions.0.transformer_blocks.0.attn2.to_k", "peft", 768): ("Stable Diffusion 1.x", "PEFT", "LoRA"),
    ("double_blocks.0.processor.qkv", "xlabs", 3072): ("FLUX.1", "xlabs", "LoRA"),
    ("unet.mid_block.attentions.0.transformer_blocks.0.attn2.processor.to_k", "2023", 768): (
        "Stable Diffusion 1.x", "diffusers of 2023", "LoRA",
    ),
}  # fmt: skip
ENDS = {
    "kohya": {".lora_down.weight": (4, "in"), ".lora_up.weight": ("in", 4), ".alpha": ()},
    "peft": {".lora_A.weight": (4, "in"), ".lora_B.weight": ("in", 4)},
    "xlabs": {"_lora1.down.weight": (4, "in"), "_lora1.up.weight": ("in", 4)},
    "2023": {"_lora.down.weight": (4, "in"), "_lora.up.weight": ("in", 4)},
    "loha": {f".hada_w{i}_{x}": ("in", 4) if x == "a" else (4, "in") for i in (1, 2) for x in "ab"},
    "lokr": {".lokr_w1": (4, 16), ".lokr_w2_a": (32, 4), ".lokr_w2_b": (4, "in/16")},
}


def _header(shapes, name="x.safetensors"):
    return Header(Path(name), shapes, {}, dict.fromkeys(shapes, "F16"))


@pytest.mark.parametrize("key", EXPECTED)
def test_the_names_that_diffusers_goes_by_are_told(key):
    from diffusers.loaders.single_file_utils import CHECKPOINT_KEY_NAMES

    names = CHECKPOINT_KEY_NAMES[key]
    for name in [names] if isinstance(names, str) else names[:1]:
        assert kind_of(_header({name: (5000, 4, 3, 3), "another.part": (4, 4, 4)})).title == EXPECTED[key]


def test_every_file_of_a_mixed_shelf_is_told(tmp_path):
    mixed_shelf(tmp_path)
    for name, (_, _, what, words) in SHELF.items():
        kind = identify(tmp_path / name)
        told = kind.words() + (", its denoiser alone" if what == "checkpoint" and not kind.parts else "")
        assert kind.what == what and words in told, (name, told)


@pytest.mark.parametrize("given", BASES)
def test_adapters_are_told_with_their_base(given):
    layer, ends, width = given
    sizes = {"in": width, "in/16": width // 16}
    shapes = {layer + end: tuple(sizes.get(n, n) for n in shape) for end, shape in ENDS[ends].items()}
    found = kind_of(_header(shapes)).adapter
    assert (found.base, found.layout, found.kind) == BASES[given] and found.num_layers == 1


def test_real_modules_are_told():
    from diffusers import AutoencoderKL, FluxTransformer2DModel, QwenImageTransformer2DModel, SD3Transformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    heads = {"num_layers": 1, "attention_head_dim": 8, "num_attention_heads": 2, "joint_attention_dim": 8}
    text = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 99}
    modules = {
        "FLUX.1": FluxTransformer2DModel(**heads, num_single_layers=1, pooled_projection_dim=8, axes_dims_rope=[2, 2, 4]),
        "Stable Diffusion 3": SD3Transformer2DModel(**heads, caption_projection_dim=16, pooled_projection_dim=8),
        "Qwen-Image": QwenImageTransformer2DModel(**heads, axes_dims_rope=(4, 2, 2)),
        "a VAE alone, of Stable Diffusion 3, FLUX.1 or a relative": AutoencoderKL(latent_channels=16, block_out_channels=(32,)),
        "a CLIP text encoder alone": CLIPTextModel(CLIPTextConfig(**text)),
        "a T5 text encoder alone": T5EncoderModel(T5Config(d_model=8, d_ff=8, num_layers=1, num_heads=1, vocab_size=99)),
    }
    for title, module in modules.items():
        assert kind_of(_header({n: tuple(t.shape) for n, t in module.state_dict().items()})).title == title


def test_what_is_no_base_model_says_the_way_out(tmp_path):
    mixed_shelf(tmp_path)
    ways = {
        "style-kohya.safetensors": "not a base model: give the base model that it was made for",
        "word.safetensors": "not a base model: give the base model that it was made for",
        "sdxl_vae.safetensors": "not a base model: give a whole model",
        "t5xxl_fp16.safetensors": "not a base model: give a whole model",
        "canny.safetensors": "it steers a base model",
        "model-00001-of-00003.safetensors": "give the folder that all shards",
        "cut.safetensors": "not a whole .safetensors file",
    }
    for name, words in ways.items():
        with pytest.raises(StudioError, match=words) as refused:
            refuse_other(tmp_path / name)
        assert "\n" not in str(refused.value) and name in str(refused.value)
    for name in ("sd15-inpainting.safetensors", "flux1-fill.safetensors"):
        with pytest.raises(StudioError, match="use its plain version"):
            refuse_other(tmp_path / name)
    for name in ("sd15.safetensors", "flux1-dev.safetensors"):
        refuse_other(tmp_path / name)


def test_a_changed_file_is_told_anew(tmp_path):
    file = sparse_safetensors(tmp_path / "x.safetensors", SHELF["sd15.safetensors"][0])
    assert identify(file).what == "checkpoint"
    sparse_safetensors(file, SHELF["word.safetensors"][0])
    assert identify(file).what == "embedding"


def test_headers_of_any_size_are_refused_in_a_line(tmp_path):
    deep = b"[" * 100_000
    for content in (b"", struct.pack("<Q", 2**62), struct.pack("<Q", len(deep)) + deep, json.dumps({"a": 1}).encode()):
        file = tmp_path / "x.safetensors"
        file.write_bytes(content)
        with pytest.raises(StudioError, match="not a whole .safetensors"):
            read_header(file)
