"""A workspace of its own for each test, and small folders of pictures."""

import shutil

import pytest

from studio.dataset.intake import create_dataset
from studio.dataset.rows import Dataset
from studio.store import Workspace
from tests.dataset.corpus import encode, photo


@pytest.fixture
def workspace(tmp_path):
    return Workspace.at(tmp_path / "workspace")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder of 10 different pictures, a0.png to a9.png, each with a caption file; not to be changed."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(10):
        (folder / f"a{i}.png").write_bytes(encode(photo(i), "PNG"))
        (folder / f"a{i}.txt").write_text(f"picture number {i}", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def made(pictures, tmp_path_factory):
    """The folder of a dataset of these pictures, imported once."""
    return create_dataset(Workspace.at(tmp_path_factory.mktemp("made")), "Ten pictures", [pictures]).root


@pytest.fixture
def dataset(workspace, made):
    """A dataset of ten pictures in the test's own workspace."""
    return Dataset.load(shutil.copytree(made, workspace.datasets / made.name))
