"""A folder under construction is invisible, private to its maker, and gone when its maker is."""

import os
import subprocess
import sys
import time

import pytest

from studio.dataset.building import building, clean
from studio.errors import StudioError

HOLD = """
import sys, time
from pathlib import Path
from studio.dataset.building import building
with building(Path(sys.argv[1])) as folder:
    (folder / "half.png").write_bytes(b"x")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_it_appears_whole(tmp_path):
    with building(tmp_path / "made") as folder:
        (folder / "a").write_text("a")
        assert not (tmp_path / "made").exists()
        assert folder.parent == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert (tmp_path / "made" / "a").read_text() == "a"


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), building(tmp_path / "made"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_name_taken_meanwhile_is_not_overwritten(tmp_path):
    with pytest.raises(StudioError, match="exists already"), building(tmp_path / "made") as folder:
        (folder / "mine").write_text("mine")
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "theirs").write_text("theirs")
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "theirs"]


def test_the_leavings_of_a_killed_maker_are_cleaned_but_not_those_of_a_live_one(tmp_path):
    maker = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "made")], stdout=subprocess.PIPE, text=True)
    folder = maker.stdout.readline().strip()
    clean(tmp_path)
    assert os.path.exists(folder)
    maker.kill()
    maker.wait()
    maker.stdout.close()
    assert os.path.exists(folder)
    clean(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folders_of_others_are_left_alone(tmp_path):
    (tmp_path / ".tmp-other").mkdir()
    (tmp_path / ".tmp-making-link").symlink_to(tmp_path / ".tmp-other")
    os.utime(tmp_path / ".tmp-other", (time.time() - 1e6,) * 2)
    clean(tmp_path)
    assert (tmp_path / ".tmp-other").is_dir()
