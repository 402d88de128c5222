"""Import under fire: the decoder dies, the import is killed or cancelled, the disk is full, two come at once."""

import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest

from studio.dataset import taking
from studio.dataset.intake import create_dataset
from studio.dataset.rows import Dataset, list_datasets
from studio.errors import StudioError
from tests.dataset.corpus import encode, photo


def decoders() -> list[psutil.Process]:
    return [process for process in psutil.Process().children() if "studio.dataset.decode" in process.cmdline()]


@pytest.mark.usefixtures("plain_starts")
def test_a_decoder_that_is_killed_five_times_costs_five_pictures(workspace, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(40):
        (folder / f"{i}.png").write_bytes(encode(photo(i), "PNG"))
    victims, hit = {3, 5, 17, 30, 39}, set()

    def sabotage(done, total, name):
        if done in hit and decoders():
            os.kill(decoders()[0].pid, signal.SIGKILL)
        elif done in victims and decoders():
            hit.add(done)
            decoders()[0].suspend()

    dataset = create_dataset(workspace, "Survivors", [folder], progress=sabotage)
    assert {skipped.file for skipped in dataset.skipped} == {f"{i}.png" for i in victims}
    assert all(skipped.reason.startswith("crashed the image decoder") for skipped in dataset.skipped)
    assert len(dataset.rows) == 35


IMPORT = """
import os, signal, sys
from pathlib import Path
from studio.dataset.intake import create_dataset
from studio.store import Workspace
def progress(done, total, name):
    print(done, flush=True)
    if done == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
create_dataset(Workspace.at(sys.argv[1]), "Killed", [Path(sys.argv[2])], progress=progress)
"""


@pytest.mark.parametrize("moment", [0, 6, 10])
def test_a_killed_import_leaves_no_dataset_and_is_cleaned_up(workspace, pictures, moment):
    command = [sys.executable, "-c", IMPORT, str(workspace.root), str(pictures), str(moment)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert list_datasets(workspace) == []
    assert all(path.name.startswith(".tmp-") for path in workspace.datasets.iterdir())
    create_dataset(workspace, "Killed", [pictures])
    assert [path.name for path in workspace.datasets.iterdir()] == ["killed"]


def test_the_same_name_at_once_gives_one_whole_dataset(workspace, pictures):
    outcomes = []

    def make():
        try:
            outcomes.append(create_dataset(workspace, "Same", [pictures]))
        except StudioError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [outcome for outcome in outcomes if isinstance(outcome, Dataset)]
    assert len(made) == 1
    assert all("exists already" in outcome for outcome in outcomes if isinstance(outcome, str))
    assert Dataset.load(made[0].root) == made[0]
    assert len([path for path in made[0].root.iterdir() if not path.name.startswith(".")]) == 21
    assert [path.name for path in workspace.datasets.iterdir()] == ["same"]


def test_a_full_disk_stops_the_import_and_leaves_nothing(workspace, pictures, monkeypatch):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def ask(self, request, tick):
            return {"errno": 28}

    monkeypatch.setattr(taking, "Worker", Full)
    with pytest.raises(OSError, match="No space left"):
        create_dataset(workspace, "Full", [pictures])
    assert list(workspace.datasets.iterdir()) == []


def test_a_cancelled_import_leaves_nothing(workspace, pictures):
    def cancel(done, total, name):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_dataset(workspace, "Cancelled", [pictures], progress=cancel)
    assert list(workspace.datasets.iterdir()) == []
    assert not decoders()
