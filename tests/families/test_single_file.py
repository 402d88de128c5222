"""Stable Diffusion as one file: recognised by its header, loaded offline, equal to the same model as a folder."""

import json
import struct
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio.errors import StudioError
from studio.families import editions, sd, single_file
from studio.families.signatures import identify
from studio.jobs.models.listing import list_models
from studio.jobs.processes.warm import load_base
from studio.jobs.runs.identity import base_identity
from studio.models.bases import examine, find_base
from studio.spec import BaseSpec
from studio.store import Workspace
from tests.fixtures import tiny

CPU = torch.device("cpu")
UNET_CONV = "model.diffusion_model.input_blocks.0.0.weight"
UNET_CROSS = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
CLIP_TOKENS = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
OPEN_CLIP_TOKENS = "cond_stage_model.model.token_embedding.weight"
VAE_CONV = "first_stage_model.encoder.conv_in.weight"
HEADERS = {
    "sd1": ([UNET_CONV, UNET_CROSS, VAE_CONV, CLIP_TOKENS], True),
    "sd2": ([UNET_CONV, UNET_CROSS, VAE_CONV, OPEN_CLIP_TOKENS], True),
    "sd1 with ema": ([UNET_CONV, UNET_CROSS, VAE_CONV, CLIP_TOKENS, "model_ema.decay"], True),
    "sdxl": (
        [UNET_CONV, UNET_CROSS, VAE_CONV, "model.diffusion_model.label_emb.0.0.weight", "conditioner.embedders.0.transformer.x"],
        False,
    ),
    "upscaler": ([UNET_CONV, UNET_CROSS, VAE_CONV, OPEN_CLIP_TOKENS, "model.diffusion_model.label_emb.weight"], False),
    "bare unet": ([UNET_CONV, UNET_CROSS], False),
    "diffusers unet": (["conv_in.weight", "down_blocks.0.resnets.0.conv1.weight", "mid_block.resnets.0.conv1.weight"], False),
    "bare vae": (["encoder.conv_in.weight", "decoder.conv_in.weight", "decoder.conv_out.weight"], False),
    "flux": (["model.diffusion_model.double_blocks.0.img_attn.qkv.weight", VAE_CONV, "text_encoders.clip_l.x"], False),
    "controlnet": (["control_model.input_blocks.0.0.weight", "control_model.zero_convs.0.0.weight", "control_model.out"], False),
}
ADAPTERS = {
    "kohya": ["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight", "lora_unet_down_blocks_0_attentions_0_proj_in.alpha"],
    "diffusers": ["unet.down_blocks.0.attentions.0.proj_in.lora_A.weight"],
    "old diffusers": ["unet.down_blocks.0.attentions.0.processor.to_q_lora.up.weight"],
    "peft": ["base_model.model.conv_in.lora_B.weight"],
    "loha": ["lycoris_unet_mid_block.hada_w1_a"],
    "lokr": ["unet_mid_block.lokr_w1"],
}


def write_header(file, names, shape=(2, 2, 2, 2)):
    """A .safetensors file whose tensors all have this shape."""
    count = 4 * shape[0] ** len(shape)
    header = {n: {"dtype": "F32", "shape": list(shape), "data_offsets": [i * count, (i + 1) * count]} for i, n in enumerate(names)}
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(count * len(names)))
    return file


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Versions 1 and 2: a folder and the same model as one file, at 64 px as the metadata says."""
    place = tmp_path_factory.mktemp("four_level")
    folders = {version: tiny.tiny_sd_four_level(place / f"v{version}", version=version) for version in (1, 2)}
    return {
        version: (folder, tiny.to_single_file(folder, metadata={"modelspec.resolution": "64x64"})) for version, folder in folders.items()
    }


def change(source, target, edit):
    """A copy of a checkpoint with its tensors edited in place by `edit`."""
    tensors = load_file(source)
    edit(tensors)
    save_file(tensors, target)
    return target


@pytest.mark.parametrize("kind", HEADERS)
def test_checkpoints_are_told_apart(tmp_path, kind):
    names, expected = HEADERS[kind]
    assert single_file.is_sd(write_header(tmp_path / "model.safetensors", names)) is expected


@pytest.mark.parametrize("kind", ADAPTERS)
def test_an_adapter_is_no_base_model(tmp_path, kind):
    with pytest.raises(StudioError, match=r"this is an adapter \(LoRA\), not a base model: give the base model"):
        single_file.is_sd(write_header(tmp_path / "a.safetensors", ADAPTERS[kind]))


@pytest.mark.parametrize("names", [["emb_params"], ["clip_l", "clip_g"], ["<brain>"]])
def test_an_embedding_is_no_base_model(tmp_path, names):
    with pytest.raises(StudioError, match=r"this is an embedding \(textual inversion\), not a base model"):
        single_file.is_sd(write_header(tmp_path / "e.safetensors", names, (8, 8)))


@pytest.mark.parametrize("damage", ["empty", "cut in the header", "cut in the data", "text", "zip"])
def test_damaged_files_are_named(models, tmp_path, damage):
    whole = models[1][1].read_bytes()
    cut = "not a whole .safetensors file"
    contents = {
        "empty": (b"", "this file is empty"),
        "cut in the header": (whole[:1000], cut),
        "cut in the data": (whole[:-1], cut),
        "text": (b"version https://git-lfs.github.com/spec/v1\n" * 3, "a pointer of Git LFS"),
        "zip": (b"PK\x03\x04" + bytes(100), "a zip archive"),
    }
    file = tmp_path / "model.safetensors"
    content, words = contents[damage]
    file.write_bytes(content)
    for read in (single_file.is_sd, single_file.load_sd):
        with pytest.raises(StudioError, match=rf"model\.safetensors: .*{words}.*: .*fetch") as caught:
            read(file)
        assert "\n" not in str(caught.value)


def test_recognising_does_not_import_torch(models):
    code = (
        f"import sys; from pathlib import Path; from studio.families import single_file; single_file.is_sd(Path({str(models[1][1])!r})); "
    )
    subprocess.run([sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], check=True, cwd=tiny.CONFIGS.parents[1])


@pytest.mark.parametrize("version", [1, 2])
def test_folder_and_single_file_are_the_same_model(models, no_network, version):
    folder, file = models[version]
    assert sd.recognise(file)
    a, b = (sd.load(path, torch.float32, CPU) for path in (folder, file))
    assert a.facts == b.facts
    assert a.facts.prediction_type == ("epsilon" if version == 1 else "v_prediction")
    for name, module in a.modules.items():
        states = module.state_dict(), b.modules[name].state_dict()
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
        assert not any(t.is_meta for t in (*b.modules[name].parameters(), *b.modules[name].buffers()))
        align(module), align(b.modules[name])
    for x, y in zip(outputs(a), outputs(b), strict=True):
        assert x.std() > 0.01
        assert torch.equal(x, y)


def align(module):
    """Copy mapped weights to fresh memory: BLAS rounds differently at other alignments, which differ between the two files."""
    for parameter in module.parameters():
        parameter.data = parameter.data.clone()


def outputs(parts):
    """Text, noise prediction, latents, pixels, and an image by the pipeline."""
    rng = torch.Generator().manual_seed(0)
    z, px = torch.randn(2, 4, 8, 8, generator=rng), torch.rand(1, 3, 64, 64, generator=rng) * 2 - 1
    cond = sd.collate(sd.encode_text(parts, ["a red disc", "!"]))
    with torch.no_grad():
        predicted = sd.predict(parts, z, torch.tensor([10, 900]), cond)
    pipeline = sd.pipeline(parts)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a red disc", height=64, width=64, num_inference_steps=2, generator=rng.manual_seed(1), output_type="pt").images
    return cond["embeds"], predicted, sd.encode_image(parts, px).mean, sd.decode_image(parts, z), image


@pytest.mark.parametrize(
    ("part", "prefix"),
    [
        ("UNet", "model.diffusion_model.middle_block.0.in_layers.2.weight"),
        ("UNet", "model.diffusion_model.output_blocks.11."),
        ("UNet", "model.diffusion_model.time_embed.0.bias"),
        ("VAE", "first_stage_model.decoder.up.3.upsample."),
        ("VAE", "first_stage_model.quant_conv."),
        ("text encoder", "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc2.bias"),
        ("text encoder", "cond_stage_model.transformer.text_model.final_layer_norm."),
    ],
)
def test_missing_tensors_are_counted_and_named(models, tmp_path, part, prefix):
    def drop(tensors):
        for key in [key for key in tensors if key.startswith(prefix)]:
            del tensors[key]

    file = change(models[1][1], tmp_path / "model.safetensors", drop)
    with pytest.raises(StudioError, match=rf"\d+ of the {part}'s \d+ tensors are missing, first \S+: fetch it again"):
        single_file.load_sd(file)


@pytest.mark.parametrize(
    "key",
    [
        "first_stage_model.encoder.conv_in.weight",
        "model.diffusion_model.input_blocks.1.0.out_layers.3.weight",
        "model.diffusion_model.output_blocks.2.1.conv.bias",
    ],
)
def test_a_missing_tensor_that_sizes_are_read_from_is_named(models, tmp_path, key):
    file = change(models[1][1], tmp_path / "model.safetensors", lambda tensors: tensors.pop(key))
    with pytest.raises(StudioError, match=key.split(".", 2)[2].replace(".", r"\.")):
        single_file.load_sd(file)


def test_a_file_without_vae_is_named(models, tmp_path):
    def drop(tensors):
        for key in [key for key in tensors if key.startswith("first_stage_model.")]:
            del tensors[key]

    with pytest.raises(StudioError, match="this file has no VAE: use a copy of the model that has one"):
        single_file.load_sd(change(models[1][1], tmp_path / "model.safetensors", drop))


def test_a_vae_near_the_file_is_taken_where_it_has_none(models, tmp_path):
    """From a folder of VAEs next to its own, by its header; one of XL is alike, and passed over by its name."""

    def drop(tensors):
        for key in [key for key in tensors if key.startswith("first_stage_model.")]:
            vae[key.removeprefix("first_stage_model.")] = tensors.pop(key)

    vae = {}
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "VAE").mkdir()
    file = change(models[1][1], tmp_path / "checkpoints" / "merge.safetensors", drop)
    save_file({key: value * 2 for key, value in vae.items()}, tmp_path / "VAE" / "a sdxl.safetensors")
    family, reason = examine(file)
    assert family is None and "put its VAE" in reason and "vae next to the folder checkpoints" in reason
    save_file(vae, tmp_path / "VAE" / "mine.safetensors")
    assert examine(file) == ("sd", None) and list_models(Workspace.at(tmp_path / "w"), [file])[0]["usable"]
    ours, theirs = (sd.load(path, torch.float32, CPU).modules["vae"].state_dict() for path in (file, models[1][1]))
    assert all(torch.equal(value, ours[key]) for key, value in theirs.items())
    workspace = Workspace.at(tmp_path / "w")
    before = base_identity(file, workspace)
    save_file({key: value + 1 for key, value in vae.items()}, tmp_path / "VAE" / "mine.safetensors")
    assert base_identity(file, workspace) != before, "another VAE is another base"


def test_a_vae_under_another_prefix_and_what_merges_carry_besides(models, tmp_path):
    def add(tensors):
        for key in [key for key in tensors if key.startswith("first_stage_model.")]:
            tensors[key.replace("first_stage_model.", "vae.")] = tensors.pop(key)
        tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
        tensors["lora_unet_mid_block_attentions_0_proj_in.alpha"] = torch.tensor(4.0)
        tensors["vae.loss.discriminator.main.0.weight"] = torch.zeros(4, 3, 4, 4)
        tensors["embedding_manager.embedder.x"] = torch.zeros(2, 32)

    assert sd.load(change(models[1][1], tmp_path / "m.safetensors", add), torch.float32, CPU).facts.latent_channels == 4


def test_what_an_adapter_has_left_in_a_base_is_counted_told_and_not_used(models, tmp_path):
    def add(tensors):
        for layer in ("lora_unet_mid_block_attentions_0_proj_in", UNET_CONV.removesuffix(".weight")):
            tensors |= {f"{layer}.lora_down.weight": torch.ones(2, 4), f"{layer}.lora_up.weight": torch.ones(4, 2)}

    file = change(models[1][1], tmp_path / "m.safetensors", add)
    assert identify(file).words() == "Stable Diffusion 1.x, with 4 tensors of an adapter left in it"
    assert "4 tensors of an adapter are left in its file, which are not used" in editions.note(file, "Stable Diffusion 1.x")
    assert not editions.note(models[1][1], "Stable Diffusion 1.x")
    ours, theirs = (sd.load(path, torch.float32, CPU).modules["unet"].state_dict() for path in (file, models[1][1]))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_weights_in_whole_numbers_are_refused_by_name(models, tmp_path):
    def pack(tensors):
        tensors[UNET_CONV] = tensors[UNET_CONV].to(torch.int8)

    with pytest.raises(StudioError, match=r"quantised \(whole numbers\), which is for drawing and cannot be trained on: fetch its bf16"):
        find_base(str(change(models[1][1], tmp_path / "m.safetensors", pack)))


def test_a_tensor_of_another_shape_is_named(models, tmp_path):
    key = "model.diffusion_model.middle_block.0.in_layers.2.bias"
    file = change(models[1][1], tmp_path / "model.safetensors", lambda tensors: tensors.update({key: torch.zeros(5)}))
    with pytest.raises(StudioError, match=r"mid_block\.resnets\.0\.conv1\.bias of the UNet is \[5\], not \[64\]"):
        single_file.load_sd(file)


def test_another_vocabulary_is_refused(models, tmp_path):
    file = change(models[1][1], tmp_path / "model.safetensors", lambda tensors: tensors.update({CLIP_TOKENS: torch.zeros(600, 32)}))
    with pytest.raises(StudioError, match="knows 600 tokens, CLIP's tokenizer 49408: give this model as a diffusers folder"):
        single_file.load_sd(file)


def test_names_without_text_model_load_too(models, tmp_path):
    def flatten(tensors):
        for key in [key for key in tensors if ".text_model." in key]:
            tensors[key.replace(".text_model.", ".")] = tensors.pop(key)

    modules, _, _ = single_file.load_sd(change(models[1][1], tmp_path / "model.safetensors", flatten))
    expected = load_file(models[1][1])[CLIP_TOKENS]
    assert torch.equal(modules["text_encoder"].get_input_embeddings().weight, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_half_precision_stays_and_smaller_becomes_single(models, tmp_path, dtype):
    folder = tmp_path / "half"
    folder.symlink_to(models[1][0])
    modules, _, _ = single_file.load_sd(tiny.to_single_file(folder, dtype=dtype))
    expected = torch.float32 if dtype is torch.float8_e4m3fn else dtype
    assert {parameter.dtype for module in modules.values() for parameter in module.parameters()} == {expected}


@pytest.mark.parametrize(
    ("version", "metadata", "marker", "expected", "size_px"),
    [
        (1, {}, None, "epsilon", 512),
        (1, {}, "v_pred", "v_prediction", 512),
        (1, {"modelspec.prediction_type": "v"}, None, "v_prediction", 512),
        (1, {"modelspec.prediction_type": "epsilon", "modelspec.resolution": "256x320"}, "v_pred", "epsilon", 256),
        (1, {"modelspec.prediction_type": "nonsense", "modelspec.resolution": "0x0"}, None, "epsilon", 512),
        (2, {}, None, "v_prediction", 768),
        (2, {"modelspec.prediction_type": "epsilon"}, None, "epsilon", 512),
    ],
)
def test_the_prediction_type_is_read_from_the_file(models, tmp_path, version, metadata, marker, expected, size_px):
    tensors = load_file(models[version][1]) | ({marker: torch.zeros(1)} if marker else {})
    file = tmp_path / "model.safetensors"
    save_file(tensors, file, metadata=metadata)
    facts = sd.load(file, torch.float32, CPU).facts
    assert (facts.prediction_type, facts.size_px) == (expected, size_px)


@pytest.mark.parametrize(
    ("version", "name", "metadata", "size_px"),
    [
        (1, "model", {}, 512),
        (1, "step-768", {}, 512),
        (1, "model", {"modelspec.resolution": "320x256"}, 256),
        (2, "model", {}, 768),
        (2, "v2-1_512-ema-pruned", {}, 512),
        (2, "v2-1_768-ema", {"modelspec.resolution": "640x640"}, 640),
        (2, "model", {"modelspec.prediction_type": "epsilon"}, 512),
    ],
)
def test_the_size_that_screens_show_before_a_file_is_loaded_is_that_it_is_trained_at(models, tmp_path, version, name, metadata, size_px):
    file = tmp_path / f"{name}.safetensors"
    save_file(load_file(models[version][1]), file, metadata=metadata)
    base = find_base(str(file))
    assert base.shape_px == (size_px, 64)
    facts = load_base(base, BaseSpec(source=str(file)), "fp32")[1].facts
    assert (facts.size_px, facts.pixel_multiple) == base.shape_px
    assert load_base(base, BaseSpec(source=str(file), size_px=128), "fp32")[1].facts.size_px == 128


def test_a_unet_that_returns_the_noise_predicts_epsilon():
    from diffusers import UNet2DConditionModel

    blocks = {"down_block_types": ("CrossAttnDownBlock2D",), "up_block_types": ("CrossAttnUpBlock2D",), "block_out_channels": (32,)}
    torch.manual_seed(0)
    unet = UNet2DConditionModel(sample_size=8, cross_attention_dim=32, layers_per_block=1, **blocks)
    assert not single_file.returns_noise(unet)
    optimizer = torch.optim.Adam(unet.parameters(), lr=5e-3)
    for _ in range(30):
        z = torch.randn(8, 4, 8, 8)
        loss = (unet(z, torch.tensor(999), torch.zeros(8, 1, 32)).sample - z).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert single_file.returns_noise(unet)


def test_zero_terminal_snr_is_read_from_the_file(models, tmp_path):
    mark = {"ztsnr": torch.zeros(1), "v_pred": torch.zeros(1)}
    _, _, scheduler = single_file.load_sd(change(models[1][1], tmp_path / "model.safetensors", lambda tensors: tensors.update(mark)))
    assert scheduler.alphas_cumprod[-1] < 1e-6
    assert scheduler.config.timestep_spacing == "trailing"


def test_an_inpainting_checkpoint_is_refused_by_the_family(models, tmp_path):
    def widen(tensors):
        tensors[UNET_CONV] = torch.zeros(32, 9, 3, 3)

    with pytest.raises(StudioError, match=r"inpainting or depth model \(9 input channels\)"):
        sd.load(change(models[1][1], tmp_path / "model.safetensors", widen), torch.float32, CPU)
