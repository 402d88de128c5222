"""Model folders from outside are looked over before anything in them is loaded."""

import json
import shutil

import pytest

from studio.errors import StudioError
from studio.families import sd
from studio.families.folder import check_folder, refuse_pickle, weight_variant
from studio.models.bases import check, find_base


@pytest.fixture
def folder(tmp_path):
    """A folder that looks like a model: index and one configuration."""
    (tmp_path / "unet").mkdir()
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    (tmp_path / "unet" / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    return tmp_path


def test_a_plain_folder_passes(folder):
    assert check_folder(folder) == {"_class_name": "StableDiffusionPipeline"}
    assert sd.recognise(folder)


def test_another_pipeline_is_not_recognised(folder):
    (folder / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    assert not sd.recognise(folder)


def test_a_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(StudioError, match="no model_index.json here: point to a diffusers model folder"):
        check_folder(tmp_path)


@pytest.mark.parametrize("place", ["pipeline.py", "unet/my_unet.py", "deep/er/x.py"])
def test_programs_are_refused(folder, place):
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    (folder / place).write_text("raise SystemExit")
    with pytest.raises(StudioError, match=f"{place} is a program"):
        check_folder(folder)


@pytest.mark.parametrize("key", ["auto_map", "trust_remote_code", "auto_mapping", "custom_pipeline"])
@pytest.mark.parametrize(
    "file", ["model_index.json", "unet/config.json", "tokenizer/tokenizer_config.json", "scheduler/scheduler_config.json"]
)
def test_configurations_that_ask_for_code_are_refused(folder, file, key):
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text(json.dumps({"_class_name": "X", key: {"AutoModel": "evil--x.Y"}}))
    with pytest.raises(StudioError, match=rf"{file} asks for code \({key}\)"):
        check_folder(folder)


@pytest.mark.parametrize("file", ["model_index.json", "unet/config.json"])
def test_a_list_as_class_name_is_refused(folder, file):
    (folder / file).write_text('{"_class_name": ["somewhere/else", "MyPipeline"]}')
    with pytest.raises(StudioError, match=f"{file} names a custom class"):
        check_folder(folder)


@pytest.mark.parametrize("text", [b"", b"{", b'{"a": }', b"\xff\xfe\x00", b"[" * 100_000], ids=["empty", "open", "half", "binary", "deep"])
@pytest.mark.parametrize("file", ["model_index.json", "unet/config.json"])
def test_broken_json_is_named(folder, file, text):
    (folder / file).write_bytes(text)
    with pytest.raises(StudioError, match=f"{file} cannot be read as JSON .*fetch the model again"):
        check_folder(folder)


@pytest.mark.parametrize("text", ["[]", "3", '"StableDiffusionPipeline"', "null"])
def test_json_that_is_no_object_is_named(folder, text):
    (folder / "model_index.json").write_text(text)
    with pytest.raises(StudioError, match="model_index.json is not a configuration"):
        check_folder(folder)


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle", ".CKPT"])
def test_pickles_are_refused(tmp_path, suffix):
    with pytest.raises(StudioError, match="can run code when opened and are never loaded"):
        refuse_pickle(tmp_path / f"model{suffix}")


def test_safetensors_are_not_refused(tmp_path):
    refuse_pickle(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("names", "variant"),
    [
        (["model.safetensors"], None),
        (["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], None),
        (["model.fp16.safetensors"], "fp16"),
        (["model.fp16-00001-of-00002.safetensors"], "fp16"),
        (["model.safetensors", "model.fp16.safetensors", "model.bin"], None),
    ],
)
def test_the_weights_variant_is_found(tmp_path, names, variant):
    for name in names:
        (tmp_path / name).touch()
    assert weight_variant(tmp_path, "model") == variant


def test_only_bin_weights_are_refused(tmp_path):
    (tmp_path / "diffusion_pytorch_model.bin").touch()
    with pytest.raises(StudioError, match=r"\.bin files can run code"):
        weight_variant(tmp_path, "diffusion_pytorch_model")


def test_no_weights_are_named(tmp_path):
    with pytest.raises(StudioError, match="no model.safetensors"):
        weight_variant(tmp_path, "model")


def test_a_folder_with_bin_weights_only_does_not_load(tiny_folder, tmp_path):
    import shutil

    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(StudioError, match=r"\.bin files can run code"):
        sd.load(folder, None, "cpu")


def test_a_folder_without_a_part_does_not_load(tiny_folder, tmp_path):
    import shutil

    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    shutil.rmtree(folder / "text_encoder")
    with pytest.raises(StudioError, match="its folder text_encoder is missing"):
        sd.load(folder, None, "cpu")


@pytest.mark.parametrize("value", [None, [None, None], ["diffusers"], "vae"], ids=str)
@pytest.mark.parametrize("name", ["vae", "unet", "text_encoder", "tokenizer"])
def test_an_index_that_lacks_what_its_family_needs_is_named(tmp_path, tiny_folder, name, value):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {name: value}))
    with pytest.raises(StudioError, match=f"model_index.json: it names no {name}: fetch the model again"):
        check(find_base(str(folder)))
