"""Without the optional packages every door says in one line what to run, by name for each kind of file, and the rest goes on."""

import json
import sys
import zipfile

import pyarrow
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from studio.cli import app
from studio.dataset.export import export_dataset, stream_zip
from studio.dataset.intake import create_dataset
from studio.dataset.looking import Look
from studio.errors import StudioError
from tests.dataset.corpus import encode, photo
from tests.dataset.scans import dicom, head, land, nifti, scene
from tests.dataset.test_geo_odd import bands_of

KINDS = {
    "slice.dcm": ("a DICOM file", "dicom"),
    "volume.nii.gz": ("a NIfTI volume", "nifti"),
    "scene.tif": ("a GeoTIFF or JPEG 2000 scene", "geo"),
    "R10m/T32TPS_20210630T101559_B02_10m.jp2": ("a GeoTIFF or JPEG 2000 scene", "geo"),
    "table.parquet": ("a Parquet table", "parquet"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One file of every kind that needs an extra, and two ordinary pictures."""
    place = tmp_path_factory.mktemp("kinds")
    dicom(place / "slice.dcm", head(0.5))
    nifti(place / "volume.nii.gz", land(24, 24, 24).astype("float32"))
    scene(place / "scene.tif", land(4, 64, 64))
    bands_of(place, {"B02": 10})
    pyarrow.parquet.write_table(pyarrow.table({"image": [encode(photo(3), "PNG")]}), place / "table.parquet")
    for i in range(2):
        (place / f"{i}.png").write_bytes(encode(photo(i), "PNG"))
    return place


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """Processes that are started find none of the packages."""
    (tmp_path / "absent").mkdir()
    for name in ("pydicom", "nibabel", "rasterio", "pyarrow"):
        (tmp_path / "absent" / f"{name}.py").write_text("raise ImportError('not here')\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "absent"))


def advice(told):
    """Whether each file is named with the line to run; `told` are (file, reason)."""
    told = {file.removeprefix("all.zip/"): reason for file, reason in told}
    assert told == {
        file: f"is {what}, which needs an extra: install it with python launch.py install {extra}" for file, (what, extra) in KINDS.items()
    }
    return True


def test_folders_archives_and_the_command_line_name_the_line_to_run(bare, folder, workspace, tmp_path):
    made = create_dataset(workspace, "folder", [folder])
    assert len(made.rows) == 2 and advice((each.file, each.reason) for each in made.skipped)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    made = create_dataset(workspace, "archive", [tmp_path / "all.zip"])
    assert len(made.rows) == 2 and advice((each.file, each.reason) for each in made.skipped)
    told = CliRunner().invoke(app, ["dataset", "survey", str(folder), "--json"])
    assert told.exit_code == 0
    assert advice((each["file"], each["reason"]) for each in json.loads(told.output.splitlines()[-1])["skipped"])
    told = CliRunner().invoke(app, ["dataset", "new", "one", str(folder / "slice.dcm"), "--workspace", str(workspace.root)])
    assert told.exit_code == 2 and "install it with python launch.py install dicom" in told.output and "Traceback" not in told.output


def test_the_page_looks_in_vain_and_says_why(bare, folder, workspace, tmp_path):
    look = Look([folder], tmp_path, lambda *_: None)
    try:
        told = look.told()
    finally:
        look.close()
    assert told["sets"] == [] and told["plain"] == 2 and advice((each["file"], each["reason"]) for each in told["skipped"])


def test_parquet_leaves_by_no_door(dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for leave in (lambda: stream_zip(dataset, "parquet"), lambda: export_dataset(dataset, tmp_path / "out", "parquet")):
        with pytest.raises(StudioError, match="Parquet tables of pictures: the extra parquet .* python launch.py install parquet"):
            leave()
    assert not (tmp_path / "out").exists() and len(list(export_dataset(dataset, tmp_path / "txt", "txt").iterdir())) == 20
