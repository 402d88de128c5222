"""Snapshots and resume points are whole or not there, whatever is killed."""

import json

import pytest
import torch

from studio.errors import StudioError
from studio.train import checkpoint


def _tensors(value):
    return {"layer": torch.full((3, 2), float(value)), "other": torch.arange(4.0)}


def test_a_snapshot_comes_back_equal(tmp_path):
    checkpoint.write_snapshot(tmp_path, 20, _tensors(1), _tensors(2))
    assert torch.equal(checkpoint.read_snapshot(tmp_path, 20, "raw")["layer"], _tensors(1)["layer"])
    assert torch.equal(checkpoint.read_snapshot(tmp_path, 20, "ema")["layer"], _tensors(2)["layer"])
    with pytest.raises(StudioError, match="no snapshot of step 21; there are: 20"):
        checkpoint.read_snapshot(tmp_path, 21, "ema")


def test_equal_tensors_are_equal_bytes(tmp_path):
    checkpoint.write_snapshot(tmp_path / "a", 1, _tensors(1), _tensors(2))
    checkpoint.write_snapshot(tmp_path / "b", 1, dict(reversed(_tensors(1).items())), _tensors(2))
    for name in ("raw.safetensors", "ema.safetensors", "done"):
        assert (tmp_path / "a/000001" / name).read_bytes() == (tmp_path / "b/000001" / name).read_bytes()


@pytest.mark.parametrize("damage", ["truncate", "flip", "unmarked", "missing"])
def test_the_newest_whole_resume_point_wins(tmp_path, damage):
    for step in (10, 20):
        checkpoint.write_resume_point(tmp_path, step, {"raw": _tensors(step)}, {"scores": []})
    newest = tmp_path / "000020"
    file = newest / "raw.safetensors"
    if damage == "truncate":
        file.write_bytes(file.read_bytes()[:-5])
    elif damage == "flip":
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    elif damage == "unmarked":
        (newest / "done").unlink()
    else:
        (newest / "state.json").unlink()
    tensors, state = checkpoint.read_resume_point(tmp_path)
    assert state["step"] == 10 and float(tensors["raw"]["layer"][0, 0]) == 10


def test_two_resume_points_are_kept(tmp_path):
    for step in (1, 2, 3, 4):
        checkpoint.write_resume_point(tmp_path, step, {"raw": _tensors(step)}, {"scores": []})
    assert checkpoint.whole_steps(tmp_path) == [3, 4]


def test_what_an_interrupted_write_left_is_ignored_and_removed(tmp_path):
    checkpoint.write_resume_point(tmp_path, 5, {"raw": _tensors(5)}, {})
    half = tmp_path / ".tmp-abc"
    half.mkdir()
    (half / "raw.safetensors").write_bytes(b"half")
    assert checkpoint.whole_steps(tmp_path) == [5]
    checkpoint.remove_partial(tmp_path)
    assert not half.exists() and checkpoint.whole_steps(tmp_path) == [5]


def test_an_older_point_survives_a_failed_newer_one(tmp_path, monkeypatch):
    checkpoint.write_resume_point(tmp_path, 5, {"raw": _tensors(5)}, {})

    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.write_resume_point(tmp_path, 6, {"raw": _tensors(6)}, {})
    assert checkpoint.whole_steps(tmp_path) == [5] and not list(tmp_path.glob(".tmp-*"))


def test_the_marker_lists_every_file(tmp_path):
    checkpoint.write_resume_point(tmp_path, 5, {"raw": _tensors(5), "ema": _tensors(6)}, {"scores": [1]})
    listed = json.loads((tmp_path / "000005/done").read_text())
    assert sorted(listed) == ["ema.safetensors", "raw.safetensors", "state.json"]
