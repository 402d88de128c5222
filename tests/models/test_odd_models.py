"""What people have beside base models, and what merely bears the name of one: each told truly, with what to do, and the list goes on."""

import json
import os
import struct
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from studio.cli import app
from studio.families.header import read_header
from studio.families.search import look_through
from studio.jobs.models.listing import list_models
from studio.store import Workspace
from tests.fixtures.shelf import FLUX, SD1, SDXL, UNET, sparse_safetensors

LORA = (".lora_down.weight", ".lora_up.weight", ".alpha")
AB = (".lora_A.weight", ".lora_B.weight")


def lora(layer, width, ends):
    return dict(zip((layer + end for end in ends), ([8, width], [width, 8], []), strict=False))


SANA = {"blocks.0.mlp.depth_conv.conv.weight": [11200, 1, 3, 3], "attention_y_norm.weight": [2240]}
ODD = {  # name -> (names and shapes, kind, words that tell what it is)
    "sdxl-turbo": (SDXL, "checkpoint", "Stable Diffusion XL"),
    "sdxl-lightning-lora": (
        lora("lora_unet_down_blocks_1_attentions_0_transformer_blocks_1_attn2_to_k", 2048, LORA), "adapter", "for Stable Diffusion XL",
    ),
    "lcm-lora-sdxl": (
        lora("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k", 2048, (".lora.down.weight", ".lora.up.weight")),
        "adapter", "for Stable Diffusion XL in diffusers of 2023 layout, 1 layer",
    ),
    "ip-adapter": ({"image_proj.proj.weight": [3072, 1024], "ip_adapter.1.to_k_ip.weight": [320, 768]}, "controlnet", "an IP-Adapter"),
    "ip-adapter-faceid": (
        {"image_proj.proj.0.weight": [1024, 512], **lora("ip_adapter.0.to_q_lora", 320, (".down.weight", ".up.weight"))},
        "controlnet", "an IP-Adapter",
    ),
    "ip-adapter-flux": (
        {"double_blocks.0.processor.ip_adapter_double_stream_k_proj.weight": [3072, 4096],
         "ip_adapter_proj_model.proj.weight": [16384, 768]},
        "controlnet", "an IP-Adapter",
    ),
    "redux": ({"redux_down.weight": [4096, 12288], "redux_up.bias": [12288]}, "controlnet", "Redux"),
    "pulid": ({"pulid_ca.0.norm1.weight": [2048], "pulid_encoder.mapping.0.weight": [1024, 1280]}, "controlnet", "PuLID"),
    "t2i-adapter": ({"body.0.block1.weight": [320, 320, 3, 3], "conv_in.weight": [320, 64, 3, 3]}, "controlnet", "a T2I-Adapter"),
    "control-lora": ({"lora_controlnet": [], "input_hint_block.0.weight": [16, 3, 3, 3]}, "controlnet", "a ControlNet LoRA"),
    "flux-controlnet": (
        {"controlnet_x_embedder.weight": [3072, 64], "transformer_blocks.0.attn.add_k_proj.weight": [3072, 3072]},
        "controlnet", "a ControlNet",
    ),
    "ultrasharp": ({"model.0.weight": [64, 3, 3, 3], "model.1.sub.0.RDB1.conv1.0.weight": [32, 64, 3, 3]}, "other", "upscaler"),
    "realesr-general": (
        {"body.0.weight": [64, 3, 3, 3], "body.1.weight": [64], "body.2.weight": [64, 64, 3, 3]}, "other", "an image upscaler (compact)",
    ),
    "taesd": ({"taesd_encoder.0.weight": [64, 3, 3, 3], "taesd_decoder.1.weight": [64, 4, 3, 3]}, "vae", "TAESD"),
    "taesd_decoder": ({"1.weight": [64, 4, 3, 3], "3.conv.0.weight": [64, 64, 3, 3]}, "vae", "TAESD"),
    "vae-fp16-fix": (
        {"decoder.conv_in.weight": [512, 4, 3, 3], "quant_conv.weight": [8, 8, 1, 1]}, "vae", "of Stable Diffusion 1.x, 2.x or XL",
    ),
    "hunyuan-vae": ({"decoder.conv_in.conv.weight": [512, 16, 3, 3, 3]}, "vae", "of a film model"),
    "clip-vision": ({"vision_model.encoder.layers.0.self_attn.k_proj.weight": [1280, 1280]}, "text_encoder", "CLIP vision"),
    "sam": (
        {"image_encoder.blocks.0.attn.qkv.weight": [2304, 768], "mask_decoder.iou_token.weight": [1, 256]}, "other", "Segment Anything",
    ),
    "depth": ({"pretrained.blocks.0.attn.qkv.weight": [3072, 1024], "depth_head.projects.0.weight": [256, 1024, 1, 1]}, "other", "depth"),
    "motion": ({"down_blocks.0.motion_modules.0.temporal_transformer.proj_in.weight": [320, 320]}, "other", "AnimateDiff"),
    "motion-lora": (
        lora("down_blocks.0.motion_modules.0.temporal_transformer.processor.to_q_lora", 320, (".down.weight", ".up.weight")),
        "adapter", "for AnimateDiff",
    ),
    "wan": ({"blocks.0.self_attn.q.weight": [1536, 1536], "head.modulation": [1, 2, 1536]}, "checkpoint", "Wan"),
    "hunyuan-video": (
        {"double_blocks.0.img_attn_qkv.weight": [9216, 3072], "txt_in.individual_token_refiner.blocks.0.norm1.weight": [3072]},
        "checkpoint", "HunyuanVideo",
    ),
    "ltx": ({UNET + "patchify_proj.weight": [2048, 128], UNET + "scale_shift_table": [2, 2048]}, "checkpoint", "LTX-Video"),
    "hidream": ({"double_stream_blocks.0.block.adaLN_modulation.1.bias": [15360]}, "checkpoint", "HiDream-I1"),
    "lumina": (
        {UNET + "cap_embedder.0.weight": [2304], UNET + "layers.0.adaLN_modulation.1.weight": [9216, 1024]}, "checkpoint", "Lumina 2",
    ),
    "aura": ({UNET + "double_layers.0.attn.w1q.weight": [3072, 3072]}, "checkpoint", "AuraFlow"),
    "kolors": (
        {"down_blocks.0.resnets.0.conv1.weight": [320, 320, 3, 3], "add_embedding.linear_1.weight": [1280, 5632]}, "checkpoint", "Kolors",
    ),
    "cascade-c": ({"clip_txt_mapper.weight": [2048, 1280]}, "checkpoint", "Stable Cascade"),
    "cogvideox": (
        {"patch_embed.text_proj.weight": [3072, 4096], "patch_embed.proj.weight": [3072, 16, 2, 2]}, "checkpoint", "CogVideoX",
    ),
    "chroma-radiance": (
        {"distilled_guidance_layer.in_proj.weight": [5120, 64], "nerf_blocks.0.norm.weight": [64]}, "checkpoint", "Chroma Radiance",
    ),
    "svd": (
        {UNET + "input_blocks.0.0.weight": [320, 8, 3, 3], UNET + "input_blocks.1.1.time_stack.0.q.weight": [320, 320]},
        "checkpoint", "Video",
    ),
    "lcm": (SD1 | {UNET + "time_embed.cond_proj.weight": [320, 256]}, "checkpoint", "(LCM)"),
    "gligen": (SD1 | {UNET + "position_net.linears.0.weight": [512, 1280]}, "checkpoint", "GLIGEN"),
    "kolors-in-original-names": (SDXL | {UNET + "label_emb.0.0.weight": [1280, 5632]}, "checkpoint", "Kolors"),
    "kandinsky-2": (
        {"add_embedding.image_proj.weight": [1536, 1280], "down_blocks.0.resnets.0.conv1.weight": [384, 384, 3, 3]},
        "checkpoint", "Kandinsky 2",
    ),
    "sana-sprint": (SANA | {"cfg_embedder.mlp.0.weight": [2240, 256]}, "checkpoint", "Sana Sprint"),
    "sana-video": (SANA | {"blocks.0.mlp.t_conv.weight": [2240, 2240, 3, 1]}, "checkpoint", "Sana Video"),
    "z-image-omni": (
        {"layers.0.adaLN_modulation.0.weight": [15360, 256], "siglip_embedder.1.weight": [3840, 1152]}, "checkpoint", "Z-Image Omni",
    ),
    "qwen-image-layered": (
        {"transformer_blocks.0.img_mod.1.weight": [18432, 3072], "time_text_embed.addition_t_embedding.weight": [2, 3072]},
        "checkpoint", "Qwen-Image-Layered",
    ),
    "lumina-next": (
        {"cap_embedder.0.weight": [2048], "layers.0.attention.wk_y.weight": [2304, 2048]}, "checkpoint", "Lumina-Next",
    ),
    "hunyuan-dit-in-diffusers-names": (
        {"text_embedder.linear_1.weight": [8192, 2048], "blocks.0.attn1.to_q.weight": [9, 9], "pos_embed.proj.weight": [1408, 4, 2, 2]},
        "checkpoint", "Hunyuan-DiT",
    ),
    "ltx-2": (
        {UNET + "patchify_proj.weight": [4096, 128], UNET + "audio_patchify_proj.weight": [2048, 128]}, "checkpoint", "LTX-2",
    ),
    "anima": ({"net.llm_adapter.blocks.0.q.weight": [9, 9], "net.x_embedder.proj.1.weight": [2048, 68]}, "checkpoint", "Anima"),
    "omnigen": ({"llm.layers.0.self_attn.qkv_proj.weight": [9216, 3072]}, "checkpoint", "OmniGen"),
    "bagel": ({"language_model.model.layers.0.self_attn.q_proj_moe_gen.weight": [3584, 3584]}, "checkpoint", "BAGEL"),
    "ema-of-original-training": (
        {"model_ema.decay": [], "model_ema.diffusion_modelinput_blocks00weight": [320, 4, 3, 3]}, "other", "averages (EMA) of a Stable",
    ),
    "ema-of-diffusers": ({f"shadow_params.{i}": [320, 4, 3, 3] for i in range(4)}, "other", "averages (EMA) of a training run"),
    "sd-left-by-training": ({f"module.{k}": v for k, v in SD1.items()}, "checkpoint", "Stable Diffusion 1.x"),
    "flux-fill-lora": (lora("double_blocks.0.img_attn.qkv", 3072, AB), "adapter", "for FLUX.1"),
    "optimizer": ({"state.0.exp_avg": [4, 4]}, "unknown", "unknown kind"),
    "latents": ({"latents_64x64": [4, 64, 64]}, "unknown", "unknown kind"),
    "a-number": ({"x": [1]}, "unknown", "unknown kind"),
    "nothing": ({}, "unknown", "unknown kind"),
}  # fmt: skip
NOT_KNOWN = {
    "kolors-in-original-names", "kandinsky-2", "sana-sprint", "sana-video", "z-image-omni", "qwen-image-layered", "lumina-next",
    "hunyuan-dit-in-diffusers-names", "ltx-2", "anima", "omnigen", "bagel", "wan", "hunyuan-video", "ltx", "hidream", "aura",
    "kolors", "cascade-c", "cogvideox", "chroma-radiance", "svd",
}  # fmt: skip


def raw(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def one(**changes):
    return {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} | changes}


FALSE = {  # the content of a .safetensors file -> what is said of it
    b"": "this file is empty",
    b"<!DOCTYPE html><html>" + b" " * 99: "this is a web page",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00": "pointer of Git LFS",
    b"\x80\x02}q\x00." + b"x" * 90: "this is a pickle, which can run code",
    b"GGUF\x03\x00\x00\x00" + b"\x00" * 90: "this is a GGUF file",
    struct.pack("<Q", 2**63) + b"{}": "not a whole .safetensors",
    raw(one(shape=[-4]), bytes(16)): "not a whole .safetensors",
    raw(one(data_offsets=[-16, 0]), bytes(16)): "not a whole .safetensors",
    raw(one(dtype="F7_X"), bytes(16)): "not a whole .safetensors",
    raw(one(shape=[2**62, 2**62]), bytes(16)): "not a whole .safetensors",
    raw(one() | {"b": one()["a"] | {"data_offsets": [8, 24]}}, bytes(24)): "not a whole .safetensors",
    raw(one(), bytes(999)): "not a whole .safetensors",
    raw(one() | {"__metadata__": {"x": {"y": 1}}}, bytes(16)): "not a whole .safetensors",
    raw(
        b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', bytes(16)
    ): "twice",
}


def told(folder, workspace):
    said = CliRunner().invoke(app, ["models", "--in", str(folder), "--workspace", str(workspace), "--json"]).output
    return {row["model"]: row for row in json.loads(said.splitlines()[-1])}, said


def test_what_people_have_beside_base_models_is_told(tmp_path):
    for name, (shapes, _, _) in ODD.items():
        sparse_safetensors(tmp_path / "odd" / f"{name}.safetensors", shapes)
    rows, _ = told(tmp_path / "odd", tmp_path / "space")
    assert len(rows) == len(ODD)
    for name, (_, kind, words) in ODD.items():
        row = rows[f"{name}.safetensors"]
        assert row["kind"] == kind and words in row["what"], row
        assert row["do"] and not row["do"].startswith("Stable") and (row["usable"] or "\n" not in row["reason"]), row
        assert not row["usable"] or name == "sdxl-turbo"
        assert (row["do"] == "choose another base model") == (name in NOT_KNOWN or kind == "unknown"), row


def test_what_is_no_safetensors_file_says_what_it_is(tmp_path):
    place = tmp_path / "false"
    place.mkdir()
    for number, content in enumerate(FALSE):
        (place / f"{number:02}.safetensors").write_bytes(content)
    with zipfile.ZipFile(place / "zip.safetensors", "w") as file:
        file.writestr("archive/data.pkl", "x" * 99)
    (place / "old.ckpt").write_bytes(b"PK\x03\x04")
    (place / "word.pt").write_bytes(b"\x80\x02")
    (place / "circle.safetensors").symlink_to(place / "circle.safetensors")
    (place / "gone.safetensors").symlink_to(place / "nothing")
    rows, _ = told(place, tmp_path / "space")
    for number, words in enumerate(FALSE.values()):
        row = rows[f"{number:02}.safetensors"]
        assert words in row["reason"] and not row["usable"] and row["do"] and "\n" not in row["reason"], row
    assert "zip archive" in rows["zip.safetensors"]["reason"] and "link leads in a circle" in rows["circle.safetensors"]["reason"]
    assert all("can run code" in rows[name]["reason"] for name in ("old.ckpt", "word.pt"))
    assert not rows["gone.safetensors"]["usable"]


def test_a_header_as_long_as_a_film_is_refused_without_being_read(tmp_path):
    file = tmp_path / "x.safetensors"
    file.write_bytes(struct.pack("<Q", 1 << 40) + b"{")
    os.truncate(file, (1 << 40) // 1024)
    with pytest.raises(ValueError, match="not a whole .safetensors"):
        read_header(file)


def test_links_that_lead_back_and_names_that_cannot_be_shown(tmp_path):
    place = tmp_path / "place"
    sparse_safetensors(place / "below" / "sd.safetensors", SD1)
    (place / "below" / "up").symlink_to(place)
    (place / "below" / "again").symlink_to(place / "below")
    found, _ = look_through([place])
    assert [f.name for f in found] == ["sd.safetensors"]
    hostile = "a\nb <img src=x> \u202egnp.safetensors"
    sparse_safetensors(place / hostile, SD1, metadata={"modelspec.license": "MIT\n\x1b[31m", "modelspec.title": "<b>\u202e"})
    sparse_safetensors(place / os.fsdecode(b"latin-\xe9.safetensors"), SD1)
    sparse_safetensors(place / "licensed.safetensors", SD1, metadata={"modelspec.license": "MIT\n\x1b[31m"})
    rows, said = told(place, tmp_path / "space")
    json.dumps(rows, ensure_ascii=False).encode()  # as pages get it
    odd = [row for name, row in rows.items() if name not in ("sd.safetensors", "licensed.safetensors")]
    assert len(odd) == 2 and all("cannot be shown: rename it" in row["reason"] and not row["usable"] for row in odd)
    assert "\x1b" not in said and rows["licensed.safetensors"]["licence"].split() == ["MIT", "[31m"]


def test_links_that_lead_nowhere_and_folders_that_may_not_be_looked_into_stop_nothing(tmp_path, monkeypatch):
    place = tmp_path / "place"
    sparse_safetensors(place / "vae.safetensors", {"encoder.conv_in.weight": [128, 3, 3, 3], "decoder.conv_in.weight": [512, 4, 3, 3]})
    (place / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    (place / "locked").mkdir()
    is_file = Path.is_file

    def may_not(self):
        if self.parent.name == "locked":
            raise PermissionError(13, "Permission denied", str(self))
        return is_file(self)

    monkeypatch.setattr(Path, "is_file", may_not)  # as for a person who may not read it; the tests may run as root
    workspace = Workspace.at(tmp_path / "workspace")
    assert look_through([place])[1] == [{"path": str(place), "models": 2, "note": ""}]
    rows = {row["model"]: row for row in list_models(workspace, [place])}
    assert rows["vae.safetensors"]["kind"] == "vae"
    assert "a link" in rows["gone.safetensors"]["reason"] and rows["gone.safetensors"]["do"] == "bring that back, or remove the link"


def test_a_folder_that_is_one_component_is_told_by_its_weights(tmp_path):
    for name, kind, shapes in (
        ("canny", "ControlNetModel", {"controlnet_cond_embedding.conv_in.weight": [16, 3, 3, 3]}),
        ("flux", "FluxTransformer2DModel", FLUX),
    ):
        sparse_safetensors(tmp_path / "parts" / name / "diffusion_pytorch_model.safetensors", shapes)
        (tmp_path / "parts" / name / "config.json").write_text(json.dumps({"_class_name": kind}))
    rows, _ = told(tmp_path / "parts", tmp_path / "space")
    assert rows["canny"]["kind"] == "controlnet" and "it steers a base model" in rows["canny"]["reason"]
    assert rows["flux"]["what"].startswith("FLUX.1 dev") and "give the folder that holds model_index.json" in rows["flux"]["reason"]


LAYER = "lora_unet_mid_block_attentions_0_proj_in"
WAYS = {  # file -> (shapes, precision, what to do with it)
    "plain": (lora(LAYER, 64, LORA), "F16", "continue it: train --from "),
    "do ra": (lora(LAYER, 64, LORA) | {f"{LAYER}.dora_scale": [64, 1]}, "F16", "continue it: train --recipe dora --from '"),
    "dora-by-inputs": (lora(LAYER, 64, LORA) | {f"{LAYER}.dora_scale": [1, 64]}, "F16", "put it into its base: models merge "),
    "lokr": ({f"{LAYER}.lokr_w1": [8, 8], f"{LAYER}.lokr_w2": [8, 8]}, "F16", "continue it: train --recipe lokr --from "),
    "word": ({"emb_params": [2, 768]}, "F32", "continue it: train --recipe textual-inversion --from "),
    "ia3": ({f"{LAYER}.on_input": [], f"{LAYER}.weight": [64]}, "F16", "use a LoRA, DoRA, LoHa or LoKr"),
    "oft": ({f"base_model.model.{LAYER}.oft_R.weight": [8, 28]}, "F32", "use a LoRA, DoRA, LoHa or LoKr"),
    "packed": (lora(LAYER, 64, LORA[:2]), "I8", "use a LoRA, DoRA, LoHa or LoKr in plain numbers"),
}


def test_the_way_out_of_an_adapter_is_one_that_works(tmp_path):
    for name, (shapes, precision, _) in WAYS.items():
        sparse_safetensors(tmp_path / f"{name}.safetensors", shapes, precision)
    rows = {row["model"]: row for row in list_models(Workspace.at(tmp_path / "w"), [tmp_path])}
    for name, (_, _, words) in WAYS.items():
        assert words in rows[f"{name}.safetensors"]["do"], rows[f"{name}.safetensors"]
