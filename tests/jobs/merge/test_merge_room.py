"""Whether a base can be drawn with here is told by its headers and by what memory is free."""

from types import SimpleNamespace

from studio.jobs.merge import room
from studio.jobs.merge.room import has_room, needed_gib
from studio.models.bases import find_base
from studio.models.memory_plan import GIB
from tests.fixtures.shelf import SD1, UNET, sparse_safetensors


def test_the_need_is_told_by_headers(tmp_path, monkeypatch):
    starter = find_base("starter")
    assert 0.4 < needed_gib(starter) < 0.9
    file = sparse_safetensors(tmp_path / "large.safetensors", SD1 | {UNET + "middle_block.0.weight": [30_000, 30_000]})
    assert 4.5 < needed_gib(find_base(str(file))) < 6
    for free, fits in ((4.0, False), (8.0, True)):
        monkeypatch.setattr(room.psutil, "virtual_memory", lambda free=free: SimpleNamespace(available=free * GIB))
        assert has_room(find_base(str(file))) is fits
