"""Stable Diffusion in one file by diffusers' names, whole or its UNet alone: the same model as the folder; what is missing is said."""

import shutil
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio import registry
from studio.errors import StudioError
from studio.export.verify import distance, outputs
from studio.families.base import Parts
from studio.models.bases import examine, find_base
from studio.models.sizes import Sizes, read_sizes
from tests.fixtures.tiny import original_unet, tiny_sd_four_level
from tests.fixtures.tiny_sdxl import tiny_sdxl

SIZE = {"modelspec.resolution": "64x64"}
TEXT = "a red disc!"
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
MAKE = {
    "1.x": lambda folder: tiny_sd_four_level(folder),
    "2.x": lambda folder: tiny_sd_four_level(folder, version=2),
    "XL": lambda folder: tiny_sdxl(folder, size_px=64, real_words=True),
}
BESIDE = {"vae": "vae/vae_xl.safetensors", "text_encoder": "text_encoders/clip_l.safetensors", "text_encoder_2": "clip/clip_g.safetensors"}


@dataclass(frozen=True)
class Model:
    """A model as a folder, loaded once: what files of it must come to."""

    key: str
    parts: Parts
    tensors: dict  # component -> its tensors
    drawn: list
    sizes: Sizes

    def check(self, file):
        """StudioError, or a failing assertion, unless the file is this model."""
        assert examine(file) == (self.key, None)
        family, base = registry.family(self.key), find_base(str(file))
        parts = family.load(base.path, torch.float32, torch.device("cpu"))
        for name, module in self.parts.modules.items():
            ours, theirs = module.state_dict(), parts.modules[name].state_dict()
            assert ours.keys() == theirs.keys() and all(torch.equal(value, theirs[n]) for n, value in ours.items()), name
        assert parts.facts == self.parts.facts and distance(self.drawn, outputs(family, parts, TEXT)) < 1e-5
        sizes = read_sizes(file, family.card)
        assert (sizes.denoiser, sizes.text_encoders, sizes.vae) == (self.sizes.denoiser, self.sizes.text_encoders, self.sizes.vae)


@pytest.fixture(scope="module", params=MAKE)
def model(request, tmp_path_factory):
    """Once for each kind."""
    folder = MAKE[request.param](tmp_path_factory.mktemp("model") / "m")
    family = registry.family(find_base(str(folder)).family)
    parts = family.load(folder, torch.float32, torch.device("cpu"))
    tensors = {part: load_file(next(place.glob("*.safetensors"))) for part in PARTS if (place := folder / part).is_dir()}
    return Model(family.card.key, parts, tensors, outputs(family, parts, TEXT), read_sizes(folder, family.card))


def written(file, tensors, metadata=None):
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file, metadata=SIZE | (metadata or {}))
    return file


def test_a_whole_pipeline_in_one_file_is_the_model(model, tmp_path, no_network):
    model.check(written(tmp_path / "all.safetensors", {f"{c}.{n}": t for c, own in model.tensors.items() for n, t in own.items()}))


@pytest.mark.parametrize("names", ["diffusers", "original"])
def test_a_unet_alone_finds_what_belongs_to_it(model, tmp_path, names):
    key, components, unet = model.key, model.tensors, model.tensors["unet"]
    if names == "original" and "text_encoder_2" not in components:
        return  # by the original names, checkpoints of 1.x and 2.x hold text encoders: one kind shows it
    if names == "original":
        ends = {"add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"}
        unet = {n.removeprefix("model.diffusion_model."): t for n, t in original_unet(unet).items()}
        unet = {next((n.replace(a, b) for a, b in ends.items() if a in n), n): t for n, t in unet.items()}
    file = written(tmp_path / "unet" / "model.safetensors", unet)
    family, why = examine(file)
    assert family is None and "text encoder" in why and "put " in why and "\n" not in why
    for component, place in BESIDE.items():
        if component in components:
            place = place.replace("vae_xl", "vae") if key == "sd" else place
            written(tmp_path / place, components[component])
    model.check(file)
    shutil.rmtree(tmp_path / "vae")
    assert "this file has no VAE" in examine(file)[1]


def test_relatives_by_diffusers_names_are_told(model, tmp_path):
    key, unet, conv_in = model.key, model.tensors["unet"], model.tensors["unet"]["conv_in.weight"]
    kinds = {
        "inpainting": {"conv_in.weight": conv_in.new_zeros(len(conv_in), 9, 3, 3)},
        "LCM": {"time_embedding.cond_proj.weight": torch.zeros(32, 256)},
        "mixed layouts": {"model.diffusion_model.input_blocks.0.0.weight": conv_in.clone()},
    }
    kinds |= {"refiner": {"add_embedding.linear_1.weight": torch.zeros(32, 2560)}} if key == "sdxl" else {}
    for word, more in kinds.items():
        with pytest.raises(StudioError, match=word):
            find_base(str(written(tmp_path / "x.safetensors", unet | more)))
