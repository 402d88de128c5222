"""Editions with equal headers are told by names and metadata: which schedule a file has, and what to know before training on it."""

import json
from pathlib import Path

import pytest

from studio import registry
from studio.families import editions
from studio.families.header import Header
from studio.families.signatures import kind_of
from tests.fixtures.shelf import FLUX, sparse_safetensors

QWEN = {"transformer_blocks.0.img_mod.1.weight": (18432, 3072)}


@pytest.mark.parametrize(
    ("family", "name", "metadata", "folder"),
    [
        ("z_image", "z_image_turbo_bf16", {}, "z_image"),
        ("z_image", "z_image_bf16", {}, "z_image_base"),
        ("z_image", "Z-Image-Base-fp8", {}, "z_image_base"),
        ("z_image", "moody-mix-v5", {}, "z_image"),
        ("z_image", "mine", {"modelspec.title": "Z-Image"}, "z_image_base"),
        ("z_image", "mine", {"modelspec.architecture": "Z-Image"}, "z_image"),
        ("z_image", "z-image-mix", {"modelspec.title": "made from Turbo"}, "z_image"),
        ("chroma", "Chroma1-HD", {}, "chroma"),
        ("chroma", "chroma-unlocked-v50", {}, "chroma"),
        ("chroma", "Chroma1-Base", {}, "chroma_base"),
        ("chroma", "chroma1-flash-fp8", {}, "chroma_flash"),
        ("chroma", "flashlight", {}, "chroma"),
        ("chroma", "chroma-database", {}, "chroma"),
    ],
)
def test_files_of_equal_headers_are_completed_by_their_names(family, name, metadata, folder):
    layout = registry.family(family).card.file
    header = Header(Path(f"{name}.safetensors"), {}, metadata)
    assert layout.folder(header).name == folder and (layout.folder(header) / "scheduler" / "scheduler_config.json").is_file()


@pytest.mark.parametrize(
    ("shapes", "name", "metadata", "title", "edition"),
    [
        (FLUX, "flux1-dev-kontext_fp8_scaled", {}, "FLUX.1 dev", "FLUX.1 Kontext"),
        (FLUX, "mine", {"modelspec.architecture": "Flux.1-dev/kontext"}, "FLUX.1 dev", "FLUX.1 Kontext"),
        (FLUX, "flux1-dev", {}, "FLUX.1 dev", ""),
        (QWEN, "qwen_image_edit_2509_fp8_e4m3fn", {}, "Qwen-Image", "Qwen-Image-Edit"),
        (QWEN, "qwen-image-credit", {}, "Qwen-Image", ""),
    ],
)
def test_editing_models_are_told_and_noted(tmp_path, shapes, name, metadata, title, edition):
    kind = kind_of(Header(Path(f"{name}.safetensors"), shapes, metadata))
    assert (kind.title, kind.edition) == (title, edition) and kind.words() == (edition or title)
    file = sparse_safetensors(tmp_path / f"{name}.safetensors", {k: [1] for k in shapes}, metadata=metadata or None)
    assert editions.note(file, title).startswith(f"this base ({edition}) edits pictures") if edition else not editions.note(file, title)


def test_folders_are_told_by_their_pipelines_and_by_the_names_of_their_repositories(tmp_path):
    snapshot = tmp_path / "models--black-forest-labs--FLUX.1-schnell" / "snapshots" / "0123abc"
    kontext = tmp_path / "kontext"
    for folder, kind in ((snapshot, "FluxPipeline"), (kontext, "FluxKontextPipeline")):
        folder.mkdir(parents=True)
        (folder / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    assert "distilled to draw in a few steps (schnell)" in editions.note(snapshot)
    assert "(FLUX.1 Kontext) edits pictures" in editions.note(kontext) and "distilled" not in editions.note(kontext)
    assert registry.family("flux").recognise(kontext)


@pytest.mark.parametrize(
    ("name", "metadata", "shapes", "said"),
    [
        ("moody-mix-v5", {}, "Z-Image", "taken for Z-Image Turbo, whose noise levels are shifted by 3"),
        ("mine", {"modelspec.architecture": "Z-Image"}, "Z-Image", "train.timestep_shift=6"),
        ("z_image_bf16", {}, "Z-Image", ""),
        ("mine", {"modelspec.title": "made from Turbo"}, "Z-Image", ""),
        ("my-chroma", {}, "Chroma", "taken for Chroma1-HD"),
        ("chroma-unlocked-v50", {}, "Chroma", ""),
        ("Chroma1-Base", {}, "Chroma", ""),
        ("mine", {}, "FLUX.1 dev", ""),
    ],
)
def test_what_is_only_assumed_of_a_file_is_said_with_how_to_choose(tmp_path, name, metadata, shapes, said):
    file = sparse_safetensors(tmp_path / f"{name}.safetensors", {"x": [1]}, metadata=metadata or None)
    note = editions.note(file, shapes)
    assert said in note and bool(note) == bool(said)
    if said:
        family = registry.family("z_image" if shapes == "Z-Image" else "chroma")
        folder = family.card.file.folder(Header(file, {}, metadata))
        assert "shifted by 3" in note and json.loads((folder / "scheduler" / "scheduler_config.json").read_text())["shift"] == 3.0
