"""TIFF stacks: grey pages of one size become slices in one range of values; all other TIFFs stay pictures."""

import numpy as np
from PIL import Image

from studio.dataset.intake import create_dataset
from studio.dataset.readers.base import parse_choices
from tests.dataset.corpus import photo

RAMP = np.tile(np.linspace(1000, 9000, 48).astype(np.uint16), (48, 1))


def pages(path, *values, **options):
    first, *rest = [value if isinstance(value, Image.Image) else Image.fromarray(value) for value in values]
    first.save(path, save_all=True, append_images=rest, **options)
    return path


def grey(dataset, row):
    return np.asarray(Image.open(dataset.path(row)).convert("L"), int)


def test_a_stack_of_16_bits_is_shown_in_one_range(workspace, tmp_path):
    path = pages(tmp_path / "cells.tif", *(RAMP.T // (1 + i) if i % 2 else RAMP // (1 + i) for i in range(5)))
    made = create_dataset(workspace, "full", [path], choices=parse_choices({"window": "full"}))
    assert [made.caption(row) for row in made.rows] == [f"slice {k} of 5" for k in range(1, 6)]
    assert {row.note for row in made.rows} == {"values 200 to 9000 shown, all its values"} and {row.group for row in made.rows} == {"s1"}
    for i, row in enumerate(made.rows):
        values = RAMP.T // (1 + i) if i % 2 else RAMP // (1 + i)
        assert np.abs(grey(made, row) - (values.astype(float) - 200) / 8800 * 255).max() <= 1
    made = create_dataset(workspace, "window", [path], choices=parse_choices({"window": "3000/6000", "every": 2, "blocks": True}))
    assert [row.facts["slice"] for row in made.rows] == [1, 3, 5] and made.rows[0].source == "stack 1 slice 0001.png"
    assert np.abs(grey(made, made.rows[0]) - np.clip(RAMP / 6000, 0, 1) * 255).max() <= 1
    made = create_dataset(workspace, "auto", [path])
    assert "by percentiles of its stack" in made.rows[0].note and len(made.rows) == 5


def test_what_is_no_stack_stays_a_picture_and_damage_is_a_line(workspace, tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    pages(folder / "bytes.tif", *[(values >> 6).astype(np.uint8) for values in (RAMP, RAMP.T)])
    pages(folder / "colour.tif", photo(1), photo(2))
    pages(folder / "pyramid.tif", RAMP, RAMP[:24, :24])
    pages(folder / "single.tif", RAMP)
    whole = pages(tmp_path / "whole.tif", *(np.roll(RAMP, 9 * i, 1) for i in range(3)), compression="tiff_lzw").read_bytes()
    (folder / "cut.tif").write_bytes(whole[: len(whole) * 2 // 3])
    made = create_dataset(workspace, "mixed", [folder])
    sources = {row.source for row in made.rows}
    assert sources >= {"stack 1 slice 0001.png", "stack 1 slice 0002.png", "colour.tif", "pyramid.tif", "single.tif"}
    assert all("stack 1" in row.source for row in made.rows if row.facts) and "first of its 2 frames" in str(made.rows)
    assert all(each.file.startswith("cut.tif") for each in made.skipped)
