"""PixArt-Sigma and Stable Diffusion 3: what their pipelines do with texts, and what is amiss in a folder, named in a line."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from studio import registry
from studio.errors import StudioError
from studio.families import pixart, sd3
from studio.models.bases import find_base
from tests.fixtures import tiny_flow, tiny_text
from tests.fixtures.original_names import sd3_to_original
from tests.fixtures.tiny_pixart import tiny_pixart

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("dit")
    return {"pixart": tiny_pixart(root / "pixart"), "sd3": tiny_flow.tiny(tiny_flow.sd3, root / "sd3")}


def load(folder):
    base = find_base(str(folder))
    return registry.family(base.family).load(base.path, torch.float32, CPU)


def _edit(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def _other_t5(folder, name):
    shutil.rmtree(folder / name)
    tiny_text.t5_encoder(48).save_pretrained(folder / name)


def _other_clip(folder):
    shutil.rmtree(folder / "text_encoder_2")
    tiny_text.clip_encoder(True, 32).save_pretrained(folder / "text_encoder_2")


def _cut(folder):
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _vae_of_flux(folder):
    shutil.rmtree(folder / "vae")
    tiny_flow.kl_vae(16).save_pretrained(folder / "vae")


DAMAGE = {
    "pixart, another T5": ("pixart", lambda f: _other_t5(f, "text_encoder"), "text_encoder are of different widths: put the T5"),
    "pixart, Alpha's transformer": (
        "pixart",
        lambda f: _edit(f / "transformer" / "config.json", use_additional_conditions=True),
        "missing",
    ),
    "pixart, a pickle": (
        "pixart",
        lambda f: (f / "vae" / "diffusion_pytorch_model.safetensors").rename(f / "vae" / "diffusion_pytorch_model.bin"),
        "bin files can run code",
    ),
    "pixart, another VAE": ("pixart", _vae_of_flux, "its VAE writes 16 channels, but its denoiser reads 4|16 .*channels"),
    "sd3, another T5": ("sd3", lambda f: _other_t5(f, "text_encoder_3"), "text_encoder_3 are of different widths: put the T5"),
    "sd3, another CLIP": ("sd3", _other_clip, "give 48 pooled numbers and 48 others, but its transformer reads 32 and 32"),
    "sd3, a missing encoder": ("sd3", lambda f: shutil.rmtree(f / "text_encoder_2"), "text_encoder_2 .*missing"),
    "sd3, a cut file": ("sd3", _cut, r"diffusion_pytorch_model.safetensors: not a whole .safetensors file"),
    "sd3, code": ("sd3", lambda f: _edit(f / "text_encoder_3" / "config.json", auto_map={"AutoModel": "x.Y"}), "asks for code"),
    "sd3, another schedule": (
        "sd3",
        lambda f: _edit(f / "scheduler" / "scheduler_config.json", _class_name="DDIMScheduler"),
        "no noise schedule of a flow",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_amiss_is_named_in_a_line(folders, tmp_path, kind):
    name, damage, words = DAMAGE[kind]
    copy = shutil.copytree(folders[name], tmp_path / "copy")
    damage(copy)
    with pytest.raises(StudioError, match=words) as caught:
        load(copy)
    assert "\n" not in str(caught.value) and str(copy) in str(caught.value)


def test_a_transformer_of_the_old_class_name_is_the_same(folders, tmp_path):
    copy = shutil.copytree(folders["pixart"], tmp_path / "copy")
    _edit(copy / "transformer" / "config.json", _class_name="Transformer2DModel", norm_type="ada_norm_single")
    ours, theirs = load(folders["pixart"]).modules["transformer"], load(copy).modules["transformer"]
    assert type(ours) is type(theirs)
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())


def test_pixart_reads_small_letters_and_leaves_padding_unread(folders):
    parts = load(folders["pixart"])
    (small,), (large,) = (pixart.encode_text(parts, [text]) for text in ("a red disc", " A Red DISC "))
    assert torch.equal(small["embeds"], large["embeds"]) and pixart.num_tokens(parts, "A") == pixart.num_tokens(parts, "a")
    assert int(small["mask"].sum()) == pixart.num_tokens(parts, "a red disc")[0] and len(small["mask"]) == pixart.MAX_TOKENS
    z, t = torch.randn(1, 4, 8, 8), torch.tensor([300])
    spoilt = {"embeds": torch.where(small["mask"][:, None] == 1, small["embeds"], 9.0), "mask": small["mask"]}
    asked = [pixart.predict(parts, z, t, pixart.collate([cond])) for cond in (small, spoilt)]
    assert (asked[0] - asked[1]).abs().max() < 1e-5


def test_sd3_counts_what_its_longest_reader_reads(folders, tmp_path):
    whole = load(folders["sd3"])
    assert sd3.num_tokens(whole, "word")[1] == sd3.MAX_TOKENS and not whole.facts.note
    alone = load(tiny_flow.tiny(tiny_flow.sd3, tmp_path / "sd3", t5=False))
    assert sd3.num_tokens(alone, "word")[1] == sd3.CLIP_TOKENS and "without T5" in alone.facts.note
    (cond,) = sd3.encode_text(alone, ["a red disc"])
    assert cond["embeds"].shape == (77 + sd3.MAX_TOKENS, 32) and not cond["embeds"][77:].any()


@pytest.mark.parametrize("dual", [False, True])
def test_sd3s_transformer_in_one_file_is_read_with_the_folder_beside_it(tmp_path, dual):
    folder, file = tiny_flow.tiny(tiny_flow.sd3, tmp_path / "model", dual=dual), tmp_path / "tuned.safetensors"
    whole = load(folder)
    tensors = sd3_to_original({n: t + 0.01 for n, t in whole.modules["transformer"].state_dict().items()}, 2)
    save_file(tensors, file)
    parts = load(file)
    assert parts.facts.title == whole.facts.title and parts.modules.keys() == whole.modules.keys()
    state = parts.modules["transformer"].state_dict()
    assert all(torch.equal(state[n], t + 0.01) for n, t in whole.modules["transformer"].state_dict().items())
    gone = "model.diffusion_model.joint_blocks.1.x_block.mlp.fc1.weight"
    save_file({n: t for n, t in tensors.items() if n != gone}, file)
    with pytest.raises(StudioError, match="tensor joint_blocks.1.x_block.mlp.fc1.weight of its transformer is missing"):
        load(file)
    shutil.rmtree(folder)
    with pytest.raises(StudioError, match="its transformer alone: .* or put a diffusers folder of Stable Diffusion 3 beside it"):
        load(file)
