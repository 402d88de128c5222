"""Fixtures of the training room."""

import pytest

from studio.store import Workspace
from tests.fixtures.runs import dataset


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """(a workspace, its one dataset of ten pictures)."""
    workspace = Workspace.at(tmp_path_factory.mktemp("workspace"))
    return workspace, dataset(workspace, tmp_path_factory.mktemp("pictures"), 10)
