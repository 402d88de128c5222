"""A base is known by its components' files, and by nothing beside them."""

import shutil

from studio.jobs.runs.identity import base_identity
from studio.store import Workspace


def test_only_components_count(tiny_folder, tmp_path):
    workspace, copy = Workspace.at(tmp_path / "workspace"), tmp_path / "copy"
    shutil.copytree(tiny_folder, copy)
    first = base_identity(tiny_folder, workspace)
    (copy / "README.md").write_text("a card")
    (copy / "report.json").write_text("{}")
    assert base_identity(copy, workspace) == first
    config = copy / "unet" / "config.json"
    config.write_text(config.read_text() + "\n")
    assert base_identity(copy, workspace) != first


def test_a_file_is_known_by_its_bytes(tmp_path):
    workspace, file = Workspace.at(tmp_path / "workspace"), tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    first = base_identity(file, workspace)
    assert base_identity(file, workspace) == first
    file.write_bytes(b"other")
    assert base_identity(file, workspace) != first
