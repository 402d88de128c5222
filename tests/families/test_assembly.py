"""Models as files: all in one, or a denoiser with encoders and autoencoder near it; the same model as its diffusers folder."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio import registry
from studio.errors import StudioError
from studio.families.assembly import assemble
from studio.models.bases import examine, find_base
from studio.models.sizes import read_sizes
from tests.fixtures import tiny_files

SCHEDULE = ("shift", "use_dynamic_shifting", "max_shift", "max_image_seq_len", "shift_terminal", "beta_schedule", "timestep_spacing")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Diffusers folders, made when they are asked for."""
    root, made = tmp_path_factory.mktemp("folders"), {}

    def get(name):
        made[name] = made.get(name) or tiny_files.save(name, root / name)
        return made[name]

    return get


def load(path, dtype=torch.float32):
    base = find_base(str(path))
    return base, registry.family(base.family).load(base.path, dtype, CPU)


def answers(parts):
    """What a model says of a caption, of noise, and of latents."""
    family = registry.family(find_base(str(parts.source)).family)
    cond = family.collate(family.encode_text(parts, ["a red disc, 日本"]))
    z = torch.randn(1, parts.facts.latent_channels, 8, 8, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([500]) if parts.facts.prediction_type == "epsilon" else torch.tensor([0.5])
    with torch.no_grad():
        return cond["embeds"], family.predict(parts, z, t, cond, None), family.decode_image(parts, z)


@pytest.mark.parametrize("name", tiny_files.MODELS)
def test_files_are_the_same_model_as_their_folder(folders, tmp_path, name):
    """All in one file, and the denoiser in ComfyUI's folders: same facts, same tensors, the same answers to the same questions."""
    vae = "first_stage_model." if name == "sd3" else "vae."
    one = tiny_files.as_one_file(name, folders(name), tmp_path / "model.safetensors", vae)
    several = tiny_files.as_files(name, folders(name), tmp_path / "models")
    wanted_base, wanted = load(folders(name))
    wanted_answers = answers(wanted)
    for file in (one, several):
        base, parts = load(file)
        assert base.family == wanted_base.family and parts.facts == wanted.facts and base.shape_px == wanted_base.shape_px
        assert parts.modules.keys() == wanted.modules.keys() and parts.tokenizers.keys() == wanted.tokenizers.keys()
        assert all((parts.scheduler.config.get(key) or 0) == (wanted.scheduler.config.get(key) or 0) for key in SCHEDULE)
        for kind, module in wanted.modules.items():
            state, own = module.state_dict(), parts.modules[kind].state_dict()
            assert state.keys() == own.keys() and all(torch.equal(value, own[key]) for key, value in state.items()), kind
            assert not any(t.is_meta or t.requires_grad for t in (*parts.modules[kind].parameters(), *parts.modules[kind].buffers()))
        for own, theirs in zip(answers(parts), wanted_answers, strict=True):
            assert torch.allclose(own, theirs, atol=1e-5) and own.isfinite().all() and own.std() > 0


def edit(file, change):
    """The file with its tensors changed."""
    state = load_file(file)
    change(state)
    save_file(state, file)


def test_what_is_missing_is_named_with_its_width_and_its_place(folders, tmp_path):
    file = tiny_files.as_files("flux dev", folders("flux dev"), tmp_path)
    (tmp_path / "text_encoders" / "t5xxl.safetensors").rename(tmp_path / "t5.away")
    told = r"FLUX.1 dev, its transformer alone: its T5 text encoder \(32 wide; usually t5xxl_fp16.safetensors\) is missing: put it beside"
    with pytest.raises(StudioError, match=told):
        find_base(str(file))
    assert "text_encoders next to the folder mine; or put a diffusers folder of FLUX.1 dev beside it" in examine(file)[1]
    (tmp_path / "t5.away").rename(file.parent / "any name.safetensors")
    assert examine(file) == ("flux", None), "what has been put there is seen, though the file itself is as it was"
    assert [f.name for f in assemble(file).files] == ["any name.safetensors", "clip_l.safetensors", "ae.safetensors"]
    (tmp_path / "vae" / "ae.safetensors").unlink()
    (tmp_path / "text_encoders" / "clip_l.safetensors").unlink()
    with pytest.raises(
        StudioError, match=r"its CLIP text encoder \(24 wide.* and its VAE \(16 channels; usually ae.* are missing: put them"
    ):
        find_base(str(file))


def test_pieces_of_other_models_are_passed_over(folders, tmp_path):
    file = tiny_files.as_files("flux dev", folders("flux dev"), tmp_path)
    encoders, vaes = tmp_path / "text_encoders", tmp_path / "vae"
    t5 = load_file(encoders / "t5xxl.safetensors")
    again = "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight"
    save_file(t5 | {again: torch.zeros(32, 4)}, encoders / "a umt5.safetensors")  # as multilingual ones are
    save_file({n: t[..., :16].contiguous() for n, t in t5.items()}, encoders / "b narrow.safetensors")
    save_file(t5, encoders / "z again.safetensors")
    (encoders / "c.safetensors").write_bytes(b"no weights")
    vae = load_file(vaes / "ae.safetensors")
    save_file(vae | {"decoder.conv_in.weight": torch.zeros(64, 4, 3, 3)}, vaes / "a sd.safetensors")
    save_file(vae, vaes / "a sd3.safetensors")
    found = {name: piece.path.name for name, piece in assemble(file).pieces.items()}
    assert found == {"text_encoder": "clip_l.safetensors", "text_encoder_2": "t5xxl.safetensors", "vae": "ae.safetensors"}


def test_a_file_costs_what_its_folder_costs(folders, tmp_path):
    for name in ("flux dev", "z_image"):
        file = tiny_files.as_one_file(name, folders(name), tmp_path / f"{name}.safetensors")
        card = registry.family(find_base(str(file)).family).card
        own, wanted = read_sizes(file, card), read_sizes(folders(name), card)
        assert (own.denoiser, own.width, own.depth, own.size_px, own.side) == (
            wanted.denoiser, wanted.width, wanted.depth, wanted.size_px, wanted.side,
        )  # fmt: skip
        assert abs(own.text_encoders / wanted.text_encoders - 1) < 0.01 and own.vae == wanted.vae


def test_stable_diffusion_3_reads_t5_where_there_is_one(folders, tmp_path):
    file = tiny_files.as_files("sd3", folders("sd3"), tmp_path)
    assert "without T5" in load(file)[1].facts.note
    t5 = tiny_files.tensors(folders("flux dev"), "text_encoder_2")
    save_file({n: torch.cat([t, t], -1) if t.shape[-1] == 32 else t for n, t in t5.items() if "wo" not in n and ".o." not in n} | {
        n: torch.cat([t, t]) for n, t in t5.items() if n.endswith((".wo.weight", ".o.weight"))
    }, tmp_path / "text_encoders" / "t5xxl.safetensors")  # fmt: skip
    parts = load(file)[1]
    assert parts.modules["text_encoder_3"].config.d_model == 64 and not parts.facts.note
    assert len(sd3_text(parts)) == 77 + 256


def sd3_text(parts):
    return registry.family("sd3").encode_text(parts, ["a red disc"])[0]["embeds"]


@pytest.mark.parametrize(("scaled", "dtype"), [("", torch.float32), ("scale_weight", torch.bfloat16), ("by row", torch.float32)])
def test_eight_bits_stand_for_what_their_scales_say(folders, tmp_path, scaled, dtype):
    """Plain fp8 as ComfyUI writes it, and both spellings of scaled fp8: every weight is what its numbers and scale make."""
    file = tiny_files.as_one_file("flux dev", folders("flux dev"), tmp_path / "model.safetensors")
    state = load_file(file)
    for name in [n for n in state if n.endswith(".weight") and state[n].ndim == 2 and not n.startswith("vae.")]:
        layer = name.removesuffix("weight")
        if scaled:
            size = state[name].abs().amax(1, keepdim=True) if scaled == "by row" else state[name].abs().max()
            state[layer + (scaled if "_" in scaled else "weight_scale")] = scale = size / 448
            state[name] = state[name] / scale
            state[layer + ("input_scale" if scaled == "by row" else "scale_input")] = torch.tensor(1.0)
        state[name] = state[name].to(torch.float8_e4m3fn)
    if scaled == "scale_weight":
        state["model.diffusion_model.scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    save_file(state, file)
    wanted, parts = load(folders("flux dev"))[1], load(file, dtype)[1]
    assert {p.dtype for m in parts.modules.values() for p in m.parameters()} == {dtype}
    for name, module in wanted.modules.items():
        own = parts.modules[name].state_dict()
        for key, value in module.state_dict().items():
            assert (own[key].float() - value).abs().max() <= 0.07 * value.abs().max(), (name, key)


def test_eight_bits_with_scales_of_another_kind_are_named(folders, tmp_path):
    file = tiny_files.as_one_file("flux dev", folders("flux dev"), tmp_path / "model.safetensors")
    layer = "model.diffusion_model.double_blocks.0.img_mlp.0."
    edit(
        file, lambda s: s.update({layer + "weight": s[layer + "weight"].to(torch.float8_e4m3fn), layer + "weight_scale": torch.ones(4, 2)})
    )
    with pytest.raises(StudioError, match=r"the fp8 scales of model.diffusion_model.double_blocks.0.img_mlp.0.weight are of a kind"):
        load(file)


def test_packed_weights_are_refused_before_anything_is_loaded(folders, tmp_path):
    file = tiny_files.as_one_file("flux dev", folders("flux dev"), tmp_path / "model.safetensors")
    layer = "model.diffusion_model.double_blocks.0.img_mlp.0."
    packed = {layer + "weight": torch.zeros(512, 64, dtype=torch.uint8), layer + "weight_scale": torch.ones(512, 8)}
    edit(file, lambda s: s.update(packed | {layer + "comfy_quant": torch.zeros(10, dtype=torch.uint8)}))
    with pytest.raises(StudioError, match="quantised .*cannot be trained on: fetch its bf16, fp16 or fp8 version"):
        find_base(str(file))


def test_what_must_stay_exact_stays_so_in_half_precision(folders, tmp_path):
    """Rotary frequencies in fp32 in every precision, and of T5 what fp16 cannot hold, from folders and files alike."""
    files = {name: tiny_files.as_one_file(name, folders(name), tmp_path / f"{name}.safetensors") for name in ("z_image", "chroma")}
    for name, dtype in (("z_image", torch.bfloat16), ("chroma", torch.float16)):
        for parts in (load(folders(name), dtype)[1], load(files[name], dtype)[1]):
            encoder = parts.modules["text_encoder"]
            exact = encoder.rotary_emb.inv_freq if name == "z_image" else encoder.encoder.block[0].layer[1].DenseReluDense.wo.weight
            assert exact.dtype == torch.float32 and encoder.get_input_embeddings().weight.dtype == dtype


def test_a_piece_that_is_not_whole_is_named(folders, tmp_path):
    file = tiny_files.as_files("chroma", folders("chroma"), tmp_path)
    edit(tmp_path / "text_encoders" / "t5xxl.safetensors", lambda s: s.pop("encoder.block.1.layer.1.DenseReluDense.wo.weight"))
    with pytest.raises(StudioError, match=r"t5xxl.safetensors: 1 of the text encoder's \d+ tensors are missing, first encoder.block.1"):
        load(file)


def test_headers_made_to_hurt_are_named_at_once(tmp_path):
    def write(name, shapes):
        header = json.dumps({n: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for n, shape in shapes.items()}).encode()
        (tmp_path / name).write_bytes(struct.pack("<Q", len(header)) + header)
        return examine(tmp_path / name)[1]

    flux = {"double_blocks.0.img_attn.norm.query_norm.scale": [0], "img_in.weight": [0, 64], "vector_in.in_layer.weight": [0, 768]}
    told = write("wide.safetensors", flux | {"txt_in.weight": [0, 2**40]})
    assert told == f"{tmp_path / 'wide.safetensors'}: its tensor img_in.weight is empty: fetch it again"
    many = write("many.safetensors", {f"double_blocks.{i}.img_attn.qkv.weight": [0] for i in range(50_001)})
    assert "it holds 50,001 tensors, which no model does" in many
