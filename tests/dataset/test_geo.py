"""GeoTIFF: scenes are read by windows, stretched, cut into tiles that stay on one side of the split; place only where asked for."""

import json
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from PIL import Image
from typer.testing import CliRunner

from studio.cli import app
from studio.dataset.intake import create_dataset
from studio.dataset.readers import geo, geo_files, tiles
from studio.dataset.readers.bands import pick_bands
from studio.dataset.readers.base import parse_choices
from studio.errors import StudioError
from studio.store import Workspace
from tests.dataset.scans import SECRETS, land, scene

MEASURE = """
import re, sys
from pathlib import Path
from types import SimpleNamespace
from studio.dataset.readers import geo
from studio.dataset.readers.base import parse_choices

def peak():  # ru_maxrss would begin with that of the parent
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])


file, before = SimpleNamespace(path=Path(sys.argv[1])), peak()
(found,) = geo.gather([(file, geo.survey(file.path, "00" * 16))])
choices = parse_choices({"bands": "4,3,2", "tile": 256, "stretch": "each"})
ranges = [geo.read(file.path, ask).ranges for _, ask in geo.measured(found, choices)]
for take in geo.plan(found, choices, ranges)[:40]:
    geo.read(file.path, take.ask)
print((peak() - before) / 1024)
"""
NAMES = ("B02", "B03", "Red", "nir", f"for {SECRETS[0]}", "Land cover")


def pixels(dataset, row):
    return np.asarray(Image.open(dataset.path(row)), int)


def make(workspace, name, sources, **choices):
    return create_dataset(workspace, name, sources, choices=parse_choices(choices))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A scene of six bands with a corner without data, one of two, and a plain 8-bit picture with a place."""
    place = tmp_path_factory.mktemp("scenes")
    values = land(6, 200, 300)
    values[5] = 80
    values[5, :, 150:] = 10
    values[:, :70, :70] = 0
    scene(place / f"{SECRETS[0]}.tif", values, names=NAMES)
    radar = np.random.default_rng(0).gamma(2.0, 0.1, (2, 128, 128)).astype(np.float32)
    radar[:, 5, 5], radar[:, :, 64:] = np.nan, -9999
    scene(place / "radar.tif", radar, names=("VV", "VH"), nodata=-9999)
    scene(place / "photo.tif", (land(3, 64, 64) >> 4).astype(np.uint8), photometric="RGB")
    return place


def test_a_scene_becomes_tiles_with_bands_stretch_and_captions(folder, tmp_path):
    made = make(Workspace.at(tmp_path), "land", [folder / f"{SECRETS[0]}.tif"], tile=64, bands="red,green,blue", place=True)
    assert len(made.rows) == 4 * 5 - 1, "the tile without data is left out"
    assert made.skipped[-1].reason == "1 of its pictures show next to nothing and were left out"
    first, last = made.rows[0], made.rows[-1]
    assert first.source == "scene 1 tile 00002.png" and (first.width, first.height) == (64, 64)
    assert made.caption(first) == "satellite image of water, red, B3, B2, 10 m per pixel, 2021-06-30, 46.0°N 9.0°E"
    assert made.caption(last).startswith("satellite image of tree cover")
    assert first.facts["place"] == "46.0°N 9.0°E" and first.note.startswith("bands red, B3, B2; 2 to 98 % of its values shown (")
    low, high = (float(v) for v in first.note.partition("(")[2].partition(")")[0].split(" to "))
    wanted = np.clip((land(6, 200, 300)[[2, 1, 0], 136:, 236:] - low) / (high - low), 0, 1) * 255
    assert np.abs(pixels(made, last) - wanted.transpose(1, 2, 0)).max() <= 1.5
    assert {row.group for row in made.rows} == {"s1"} and len({row.split for row in made.rows}) == 1
    everything = made.model_dump_json(exclude={"skipped"}) + "".join(made.caption(row) for row in made.rows)
    assert not any(secret in everything for secret in SECRETS)


def test_tiles_of_a_scene_stay_on_one_side_and_the_place_is_kept_only_where_asked(folder, tmp_path):
    made = make(Workspace.at(tmp_path), "all", [folder], tile=64, overlap=0.5, empty=0.3)
    for group in {"s1", "s2", "s3"}:
        assert len({row.split for row in made.rows if row.group == group}) == 1
    assert made.train_rows and made.held_out_rows
    assert not any("place" in row.facts or "°" in made.caption(row) for row in made.rows)
    radar = [row for row in made.rows if "VV" in row.note]
    assert len(radar) == 3, "of nine tiles, those in the half without data and those that reach far into it are left out"
    assert "2 of its values are no numbers" in radar[0].note or "1 of its values are no numbers" in radar[0].note
    assert made.caption(radar[0]) == "satellite image, VV, 10 m per pixel, 2021-06-30"
    (photo,) = [row for row in made.rows if "values 0 to 255 shown" in row.note]
    assert np.array_equal(pixels(made, photo), (land(3, 64, 64) >> 4).transpose(1, 2, 0))


def test_one_scene_alone_can_hold_out_a_part_of_itself(folder, tmp_path):
    made = make(Workspace.at(tmp_path), "part", [folder / f"{SECRETS[0]}.tif"], tile=32, blocks=True, max_tiles=30)
    assert len(made.rows) == 30 and made.held_out_rows and {row.group[:8] for row in made.rows} == {"s1-part-"}
    held = {row.group for row in made.held_out_rows}
    assert held.isdisjoint(row.group for row in made.train_rows)
    with pytest.raises(StudioError, match="overlap: tiles held out must not repeat"):
        parse_choices({"blocks": True, "overlap": 0.2})


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is told by /proc")
def test_a_large_scene_is_never_in_memory_whole(tmp_path):
    path = tmp_path / "large.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=4, dtype="uint16", width=10980, height=10980, tiled=True, blockxsize=256, blockysize=256,
        sparse_ok=True, crs="EPSG:32632", transform=rasterio.transform.from_origin(0, 0, 10, 10), compress="deflate",
    ) as file:  # fmt: skip
        for left in range(0, 10980 - 256, 1024):
            file.write(land(4, 256, 256), window=rasterio.windows.Window(left, left, 256, 256))
    assert path.stat().st_size < 10 * 2**20 and 4 * 2 * 10980**2 > 900e6
    made = make(Workspace.at(tmp_path / "w"), "large", [path], tile=256, max_tiles=8, bands="4,3,2", stretch="each")
    assert 1 <= len(made.rows) <= 8 and made.rows[0].width == 256
    told = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True).stdout
    assert 1 < float(told) < 300, "MiB, of 920"


def test_bad_scenes_are_named_and_plain_tiffs_stay_pictures(tmp_path, pictures):
    folder = tmp_path / "given"
    folder.mkdir()
    whole = scene(folder / "whole.tif", land(4, 128, 128)).read_bytes()
    (folder / "cut.tif").write_bytes(whole[: len(whole) // 2])
    scene(folder / "nothing.tif", np.zeros((4, 128, 128), np.uint16))
    scene(folder / "thin.tif", land(4, 9, 128))
    Image.open(pictures / "a0.png").save(folder / "plain.tif")
    made = make(Workspace.at(tmp_path / "w"), "mixed", [folder], tile=128)
    assert len(made.rows) == 2 and {row.source for row in made.rows} >= {"plain.tif"}
    told = {each.file.partition(" (")[0]: each.reason for each in made.skipped}
    assert told["cut.tif"] == "is damaged or of an unusual kind: export it again (PNG, JPEG, WebP, BMP, GIF, TIFF and AVIF are read)"
    assert told["nothing.tif"] == "is a scene without data in the bands chosen: choose others"
    assert "too elongated" in told["thin.tif"] or "too small" in told["thin.tif"]


def test_without_the_extra_plain_ones_are_read_and_others_name_the_line(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(geo_files.extras, "installed", lambda name: False)
    assert geo.survey(folder / "photo.tif", "00") is None
    monkeypatch.undo()
    (tmp_path / "rasterio.py").write_text("raise ImportError('not here')\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(StudioError, match="radar.tif is a GeoTIFF or JPEG 2000 scene, which needs an extra: install it with .*install geo"):
        make(Workspace.at(tmp_path / "w"), "none", [folder / "radar.tif"])


def test_grids_cover_everything_and_few_tiles_lie_evenly():
    boxes = tiles.grid(100, 70, 32, 0.25)
    seen = np.zeros((70, 100), bool)
    for left, top, width, height in boxes:
        assert (width, height) == (32, 32) and left + width <= 100 and top + height <= 70
        seen[top : top + height, left : left + width] = True
    assert seen.all()
    apart = tiles.grid(100, 70, 32, 0.0, is_apart=True)
    assert len(apart) == 6 and len({(left // 32, top // 32) for left, top, _, _ in apart}) == 6
    assert tiles.grid(20, 500, 32, 0.0)[0] == (0, 0, 20, 32)
    first = sorted(tiles.spread(1000, 10)[:10])
    assert max(np.diff(first)) < 200 and tiles.spread(5, 10) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [("", [3, 2, 1]), ("4,3,2", [4, 3, 2]), ("nir, B3, b02", [4, 2, 1]), ("near infrared", [4]), ("red,green,blue", [3, 2, 1])],
)
def test_bands_by_number_by_name_and_by_themselves(wanted, chosen):
    assert pick_bands(["B2", "B3", "red", "nir", "band 5"], wanted) == chosen


def test_wrong_bands_are_one_line(folder, tmp_path):
    words = ["dataset", "new", "land", str(folder), "--workspace", str(tmp_path), "--json"]
    for bands, line in (("7,1,2", "there is no band '7': there are 1 "), ("1,2", "name one or three"), ("<b>,1,2", "no band")):
        told = CliRunner().invoke(app, [*words, "--bands", bands])
        assert told.exit_code == 2 and line in told.output
    told = CliRunner().invoke(app, [*words, "--bands", "nir", "--tile", "100"])
    skipped = json.loads(told.output.splitlines()[-1])["skipped"]
    assert told.exit_code == 0 and len(skipped) == 2, "what one scene has, others may lack"
    assert all(each["reason"].startswith("was left out: bands: there is no band 'nir': there are 1 ") for each in skipped)
    told = CliRunner().invoke(
        app, [*[word.replace("land", "land 2") for word in words], "--series", "1", "--bands", "1", "--tile", "100", "--overlap", "0.1"]
    )
    assert told.exit_code == 0 and json.loads(told.output.splitlines()[-1])["images"] >= 1
