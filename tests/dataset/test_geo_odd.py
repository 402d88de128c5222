"""Scenes as they really come: band files of several resolutions, turned, masked, of any number type and layout; read alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import Affine, from_origin

from studio.dataset.intake import create_dataset
from studio.dataset.readers import geo
from studio.dataset.readers.base import parse_choices
from studio.errors import StudioError
from studio.store import Workspace
from tests.dataset.scans import SECRETS, land, scene

TURNED = Affine.translation(5e5, 5e6) @ Affine.rotation(30) @ Affine.scale(10, -10)


def seen(path, **choices):
    """(the first tile that is not empty, its notes, the set) of one scene, read without a process of its own."""
    choices = parse_choices({"tile": 64, **choices})
    file = SimpleNamespace(path=path)
    (found,) = geo.gather([(file, geo.survey(path, "00" * 16))])
    ranges = [geo.read(path, ask).ranges for _, ask in geo.measured(found, choices)]
    scan = next(scan for take in geo.plan(found, choices, ranges) if not (scan := geo.read(path, take.ask)).is_empty)
    return np.asarray(scan.image, int), "; ".join(scan.notes), found


def expected(values, low=2, high=98):
    """What a joint stretch of `values` [B, H, W] shows of their first tile."""
    ends = np.percentile(values, (low, high))
    return np.clip((values[:, :64, :64].astype(float) - ends[0]) / (ends[1] - ends[0]), 0, 1).transpose(1, 2, 0) * 255


RGB = land(3, 128, 128)
LAYOUTS = {
    "striped": (RGB, {"tiled": False, "blockysize": 3, "compress": "lzw"}),
    "planar": (RGB, {"interleave": "band"}),
    "BigTIFF": (RGB, {"BIGTIFF": "YES"}),
    "uncompressed": (RGB, {"compress": "none"}),
    "cloud optimised": (RGB, {"driver": "COG", "tiled": None, "blockxsize": None, "blockysize": None}),
    "turned": (RGB, {"transform": TURNED}),
    "without a place": (np.concatenate([RGB, RGB[:2]]), {"crs": None, "transform": None}),
    "without a place, four": (np.concatenate([RGB, RGB[:1]]), {"crs": None, "transform": None}),
    "without a place, three": (RGB, {"crs": None, "transform": None, "photometric": "minisblack"}),
    "float64": (RGB.astype(np.float64) * 1e-4 - 7, {}),
    "uint32": (RGB.astype(np.uint32) + 3_000_000_000, {}),
    "int16": (RGB.astype(np.int16) - 3000, {}),
    "float32 beyond reason": (RGB.astype(np.float32) * 1e30, {}),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_every_layout_and_number_type_shows_the_same(case, tmp_path):
    values, options = LAYOUTS[case]
    path = scene(tmp_path / f"{case} %41 é'.tif", values, names=("red", "green", "blue"), **options)
    picture, note, _ = seen(path)
    assert np.abs(picture - expected(values[:3])).max() <= 1.01, note


def test_masks_alpha_nodata_and_what_is_no_number_are_void(tmp_path):
    gone = np.zeros((128, 128), bool)
    gone[:, :40] = True
    whole = (RGB >> 4).astype(np.uint8) + 1
    alpha = np.where(gone, 0, 255).astype(np.uint8)[None]
    rgba = scene(tmp_path / "alpha.tif", np.concatenate([whole, alpha]), photometric="RGB", alpha="yes")
    masked = scene(tmp_path / "mask.tif", whole, photometric="RGB")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(masked, "r+") as file:
        file.write_mask(~gone)
    numbers = RGB.astype(np.float32)
    numbers[:, gone] = np.nan
    holes = scene(tmp_path / "nan.tif", numbers, names=("red", "green", "blue"), nodata=np.nan)
    filled = [
        scene(tmp_path / f"{kind}.tif", np.where(gone, filling, RGB.astype(kind)).astype(kind), names=("red", "green", "blue"))
        for kind, filling in (("float32", np.finfo(np.float32).min), ("float64", -9999), ("int16", -32768), ("uint16", 0))
    ]
    for path in (rgba, masked, holes, *filled):
        picture, _, found = seen(path, empty=0.9)
        assert (picture[:, :40] == 0).all() and picture[:, 44:].mean() > 20, path.name
        assert not (tmp_path / "mask.tif.msk").exists() and found.num == 1


def test_a_table_of_colours_and_complex_numbers_are_shown(tmp_path):
    codes = (np.arange(128 * 128) % 5).astype(np.uint8).reshape(1, 128, 128)
    path = scene(tmp_path / "classes.tif", codes, photometric="palette")
    table = {0: (9, 9, 9, 255), 1: (255, 0, 0, 255), 2: (0, 255, 0, 255), 3: (0, 0, 255, 255), 4: (250, 240, 10, 255)}
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, table)
    picture, note, _ = seen(path)
    assert "in the colours of its table" in note and np.array_equal(picture, np.array([table[v][:3] for v in range(5)])[codes[0, :64, :64]])
    waves = (RGB[:2] * np.exp(1j * RGB[:2])).astype(np.complex64)
    picture, _, found = seen(scene(tmp_path / "slc.tif", waves), bands="1")
    assert (
        np.abs(picture[..., 0] - expected(RGB[:1])[..., 0]).max() <= 1.5
        and "complex numbers are shown by their magnitude" in found.notes[0]
    )


def test_overviews_are_not_mistaken_for_the_scene_and_pixels_can_be_resampled(tmp_path):
    path = scene(tmp_path / "pyramid.tif", RGB, names=("red", "green", "blue"))
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    picture, _, found = seen(path)
    assert found.about.startswith("128x128 px") and np.abs(picture - expected(RGB)).max() <= 1.01
    coarse, note, found = seen(path, ground=20, stretch="none")
    mean = RGB.reshape(3, 64, 2, 64, 2).mean((2, 4)) / 65535 * 255
    assert coarse.shape == (64, 64, 3) and np.abs(coarse - mean.transpose(1, 2, 0)).max() <= 1.01
    takes = geo.plan(found, parse_choices({"tile": 32, "ground": 20, "overlap": 0.9, "stretch": "none"}), [])
    assert takes[0].facts["resolution"] == "20 m" and len(takes) == 12 * 12
    assert len(geo.plan(found, parse_choices({"tile": 4096, "stretch": "none"}), [])) == 1, "a tile is never larger than the scene"
    with pytest.raises(StudioError, match="ground: its pixels are 10 m: ask for no less than a 4th of that"):
        seen(path, ground=1)
    with pytest.raises(StudioError, match="ground: the size of its pixels in metres is not known"):
        seen(scene(tmp_path / "nowhere.tif", land(5, 64, 64), crs=None, transform=None), ground=5)


def test_nothing_beside_a_scene_is_read_and_lists_of_files_are_refused(tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    path = scene(folder / "place.tif", RGB, names=("red", "green", "blue"))
    usual = seen(path)[0]
    (folder / "place.tif.aux.xml").write_text(
        f"<PAMDataset><Metadata><MDI key='ACQUISITION_DATE'>{SECRETS[0]}</MDI></Metadata></PAMDataset>"
    )
    (folder / "place.tfw").write_text("1\n0\n0\n-1\n0\n0\n")
    (folder / "place.tif.msk").write_bytes(scene(tmp_path / "m.tif", np.zeros((1, 128, 128), np.uint8)).read_bytes())
    (folder / "place.tif.ovr").write_bytes(path.read_bytes())
    source = f"<SimpleSource><SourceFilename>{tmp_path / 'm.tif'}</SourceFilename></SimpleSource>"
    list_of = f"<VRTDataset rasterXSize='64' rasterYSize='64'><VRTRasterBand dataType='Byte' band='1'>{source}</VRTRasterBand></VRTDataset>"
    (folder / "list.vrt").write_text(list_of)
    (folder / "sly.tif").write_text(list_of)
    assert np.array_equal(seen(path)[0], usual)
    made = create_dataset(Workspace.at(tmp_path / "w"), "alone", [folder], choices=parse_choices({"tile": 64}))
    told = {each.file: each.reason for each in made.skipped}
    assert {row.source[:7] for row in made.rows} == {"scene 1"}
    assert told["list.vrt"] == "is a list of other rasters: import the files that it names"
    assert told["sly.tif"].startswith("holds text, not a picture")


def bands_of(folder, names, *, driver="JP2OpenJPEG", stem="T32TPS_20210630T101559", suffix="jp2"):
    """Band files of one scene as Sentinel-2 has them: by name, the metres of their pixels."""
    for name, metres in names.items():
        side = 1280 // metres
        place = folder / f"R{metres}m"
        place.mkdir(parents=True, exist_ok=True)
        values = np.full((1, side, side), 4, np.uint8) if name == "SCL" else field(name, side)
        if name == "SCL":
            values[:, : side // 4] = 9
        packed = {"QUALITY": "100", "REVERSIBLE": "YES"} if driver == "JP2OpenJPEG" else {}
        with rasterio.open(
            place / f"{stem}_{name}_{metres}m.{suffix}", "w", driver=driver, count=1, dtype=values.dtype, width=side, height=side,
            crs="EPSG:32632", transform=from_origin(500000, 5100000, metres, metres), **packed,
        ) as file:  # fmt: skip
            file.write(values)
    return folder


def field(name, side):
    """The same ground at any resolution, one pattern per band."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    return (2000 + 1500 * np.sin(5 * x + len(name)) * np.cos((3 + ord(name[-1]) % 5) * y))[None].astype(np.uint16)


@pytest.mark.parametrize("kind", [("JP2OpenJPEG", "jp2"), ("GTiff", "TIF")])
def test_band_files_are_one_scene_at_the_finest_of_the_bands_chosen(kind, tmp_path):
    names = {"B02": 10, "B03": 10, "B04": 10, "B05": 20, "SCL": 20}
    folder = bands_of(tmp_path / SECRETS[0] / "IMG_DATA", names, driver=kind[0], suffix=kind[1])
    bands_of(folder, {"B02": 20, "B8A": 20}, driver=kind[0], suffix=kind[1])
    workspace = Workspace.at(tmp_path / "w")
    made = create_dataset(workspace, "colour", [folder], choices=parse_choices({"tile": 64, "stretch": "none"}))
    assert len(made.rows) == 4 and made.rows[0].note.startswith("bands B4, B3, B2")
    assert made.caption(made.rows[0]) == "satellite image, B4, B3, B2, 10 m per pixel, 2021-06-30, 50 % cloud cover"
    assert made.caption(made.rows[3]).endswith("0 % cloud cover") and not made.skipped
    picture = np.asarray(Image.open(made.path(made.rows[0])), float)
    wanted = np.concatenate([field(name, 128) for name in ("B04", "B03", "B02")])[:, :64, :64] / 65535 * 255
    assert np.abs(picture - wanted.transpose(1, 2, 0)).max() <= 1.01
    mixed = create_dataset(workspace, "mixed", [folder], choices=parse_choices({"tile": 64, "stretch": "none", "bands": "B05,B8A,B03"}))
    picture = np.asarray(Image.open(mixed.path(mixed.rows[0])), float)
    wanted = np.concatenate([field(name, 128) for name in ("B05", "B8A", "B03")])[:, :64, :64] / 65535 * 255
    assert len(mixed.rows) == 4 and np.abs(picture - wanted.transpose(1, 2, 0)).max() <= 1.5, "coarser bands are resampled to the finest"
    coarse = create_dataset(workspace, "coarse", [folder], choices=parse_choices({"tile": 64, "bands": "B5", "empty": 1}))
    assert len(coarse.rows) == 1 and coarse.rows[0].facts["resolution"] == "20 m"


def test_what_comes_beside_bands_is_taken_by_its_number_alone(tmp_path):
    folder = tmp_path / "given"
    stems = {"T32TPS_20210630T101559": ("B02", "B03", "B04", "TCI_10m", "AOT_10m"), "LC08_20210704_02_T1": ("SR_B4", "QA_PIXEL", "ST_TRAD")}
    for number, (stem, kinds) in enumerate(stems.items()):
        (folder / stem).mkdir(parents=True)
        for kind in kinds:
            values = land(3, 64, 64) if "TCI" in kind else land(1, 64, 64)
            scene(folder / stem / f"{stem}_{kind}.tif", values, transform=from_origin(5e5 * (1 + number), 5e6, 10, 10))
    scene(folder / "MSK_CLDPRB_20m.tif", land(1, 64, 64))
    scene(folder / "other_TCI.tif", land(3, 64, 64))
    made = create_dataset(Workspace.at(tmp_path / "w"), "safe", [folder], choices=parse_choices({"tile": 64}))
    told = [each.file.rpartition(" (")[0] for each in made.skipped if "comes beside the bands of a scene" in each.reason]
    assert sorted(told) == [f"scene ({kind})" for kind in ("AOT", "MSK_CLDPRB", "QA_PIXEL", "ST_TRAD", "TCI")]
    assert len(made.rows) == 3, "two scenes of bands, and one that is of another name"
    alone = create_dataset(Workspace.at(tmp_path / "w"), "alone", [folder / "other_TCI.tif"], choices=parse_choices({"tile": 64}))
    assert len(alone.rows) == 1


def test_tiles_of_one_value_show_nothing(tmp_path):
    values = land(3, 64, 128)
    values[:, :, :64] = 77
    path = scene(tmp_path / "sea.tif", values)
    for skips, num in ((True, 1), (False, 2)):
        made = create_dataset(
            Workspace.at(tmp_path / f"{num}"), "sea", [path], choices=parse_choices({"tile": 64, "stretch": "joint", "skip_empty": skips})
        )
        assert len(made.rows) == num


def test_scenes_of_other_names_and_places_stay_apart(tmp_path):
    folder = tmp_path / "landsat"
    folder.mkdir()
    place = from_origin(500000, 5100000, 30, 30)
    for band in ("B4", "B5"):
        scene(folder / f"LC08_L2SP_193027_20210630_20210708_02_T1_SR_{band}.TIF", land(1, 64, 64), transform=place)
    scene(folder / "other_B4.tif", land(1, 64, 64), transform=place)
    scene(folder / "other_B5.tif", land(1, 64, 64), transform=from_origin(900000, 5100000, 30, 30))
    scene(folder / "photo_1.tif", land(1, 64, 64))
    paths = sorted(folder.iterdir())
    found = geo.gather([(SimpleNamespace(path=path), geo.survey(path, "00" * 16)) for path in paths])
    assert [[band.partition(" ")[2] for band in each.bands] for each in found] == [
        ["B4 (30 m)", "B5 (30 m)"], ["B4 (30 m)"], ["B5 (30 m)"], ["band 1"]
    ]  # fmt: skip
    assert found[0].notes == ["2 band files as one scene"] and found[0].heads[0]["date"] == "2021-06-30"


def test_a_damaged_band_file_is_one_line(tmp_path):
    folder = bands_of(tmp_path / "s", {"B02": 10, "B03": 10, "B04": 10})
    path = folder / "R10m" / "T32TPS_20210630T101559_B03_10m.jp2"
    whole = path.read_bytes()
    path.write_bytes(whole[:2500])
    made = create_dataset(Workspace.at(tmp_path / "w"), "cut", [folder], choices=parse_choices({"tile": 64}))
    assert [each.reason for each in made.skipped] == ["is a JPEG 2000 file that is cut short or damaged: copy or download it again"]
    assert len(made.rows) == 4
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StudioError, match="B02_10m.jp2 is a scene whose file of band B3 is cut short or damaged: copy"):
        create_dataset(Workspace.at(tmp_path / "w"), "half", [folder])
