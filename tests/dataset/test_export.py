"""A dataset leaves as others read it, and comes back the same."""

import json

import pytest

from studio.dataset.export import export_dataset
from studio.dataset.intake import create_dataset
from studio.errors import StudioError


def facts(dataset):
    return [(row.pixels, row.sha256, row.split, row.group, dataset.caption(row)) for row in dataset.rows]


@pytest.mark.parametrize("captions", ["txt", "jsonl"])
def test_round_trip(workspace, dataset, tmp_path, captions):
    dataset.set_caption(dataset.rows[0], 'quotes " and \\ and 東京 – "')
    out = export_dataset(dataset, tmp_path / "new" / "out", captions)
    again = create_dataset(workspace, f"again {captions}", [out])
    assert facts(again) == facts(dataset)


def test_a_table_carries_the_split(dataset, tmp_path):
    out = export_dataset(dataset, tmp_path / "out", "jsonl")
    lines = [json.loads(line) for line in (out / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["split"] for line in lines] == [row.split for row in dataset.rows]
    assert sorted(path.name for path in out.iterdir()) == sorted([row.file for row in dataset.rows] + ["metadata.jsonl"])


def test_text_files_lie_beside_the_pictures(dataset, tmp_path):
    out = export_dataset(dataset, tmp_path / "out", "txt")
    assert (out / "0001-a0.txt").read_text() == "picture number 0"
    assert len(list(out.iterdir())) == 20


def test_nothing_is_overwritten(dataset, tmp_path):
    (tmp_path / "out").mkdir()
    export_dataset(dataset, tmp_path / "out", "txt")
    with pytest.raises(StudioError, match="exists already: choose a new or empty folder"):
        export_dataset(dataset, tmp_path / "out", "txt")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StudioError, match="exists already"):
        export_dataset(dataset, tmp_path / "file", "txt")
    with pytest.raises(StudioError, match="use txt, jsonl, kohya, parquet"):
        export_dataset(dataset, tmp_path / "other", "csv")


def test_a_missing_picture_leaves_no_half_export(dataset, tmp_path):
    dataset.path(dataset.rows[5]).unlink()
    with pytest.raises(StudioError, match="0006-a5.png is missing"):
        export_dataset(dataset, tmp_path / "out", "txt")
    assert [path.name for path in tmp_path.iterdir() if path.name != "workspace"] == []
