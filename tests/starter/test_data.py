"""The starter's data: packages read safely, styles kept apart, captions and icons as promised."""

import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from studio.starter import packages, pictures, textures
from studio.starter.captions import BACKGROUNDS, captions


def make_archive(folder, members: dict[str, bytes]):
    file = folder / "demo-1.0.archive"
    with tarfile.open(file, "w:gz") as t:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return file


def test_held_out_styles_are_not_trained_on():
    held_out = {f"@iconify-json/{n}" for n in ("openmoji", "fluent-emoji-flat", "game-icons", "fluent-emoji-high-contrast")}
    held_out.add("@iconify-json/emojione-monotone")
    assert {s.package.name for s in packages.HELD_OUT_STYLES} == held_out
    assert not held_out & {s.package.name for s in packages.TRAIN_STYLES}
    assert not {s.word for s in packages.HELD_OUT_STYLES} & {s.word for s in packages.TRAIN_STYLES}
    assert len(packages.TRAIN_STYLES) == 7


def test_the_judge_shares_no_style_with_what_it_judges_and_openmoji_is_nobodys():
    judged = {s.word for s in packages.JUDGE_STYLES}
    assert len(judged) == 4 and "openmoji" not in judged
    assert not judged & {s.word for s in packages.TRAIN_STYLES}


def test_training_rows_leave_held_out_styles_alone():
    from studio.starter.bench import training_rows

    icons = [pictures.Icon(s.word, "star", "star", True) for s in packages.STYLES]
    chosen = {icons[n].style for n in training_rows(icons, concepts_only=True)}
    assert chosen == {s.word for s in packages.TRAIN_STYLES}


def test_a_named_member_is_read_and_nothing_is_unpacked(tmp_path):
    file = make_archive(tmp_path, {"package/icons.json": b'{"a": 1}', "../escape.txt": b"no"})
    assert packages.read_json(file, "package/icons.json") == {"a": 1}
    assert sorted(p.name for p in tmp_path.iterdir()) == [file.name]


def test_other_bytes_than_the_pinned_ones_are_refused(tmp_path):
    file = make_archive(tmp_path, {"package/icons.json": b"{}"})
    right = packages.Package("npm", "demo", "1.0", hashlib.sha256(file.read_bytes()).hexdigest())
    assert packages.fetch(right, tmp_path) == file
    with pytest.raises(ValueError, match="not the pinned demo 1.0"):
        packages.fetch(packages.Package("npm", "demo", "1.0", "0" * 64), tmp_path)


def test_concepts_are_about_eighty_different_things():
    concepts = pictures.read_concepts()
    assert 75 <= len(concepts) <= 100
    assert all(name == name.lower() and icons and all(icons) for name, icons in concepts.items())
    first = [icons[0] for icons in concepts.values()]
    assert len(set(first)) == len(first)


@pytest.mark.parametrize(
    ("known", "found"),
    [({"red-apple"}, "red-apple"), ({"redapple"}, "redapple"), ({"red-apple-1"}, "red-apple-1"), ({"apple"}, None)],
)
def test_icons_are_found_in_each_sets_spelling(known, found):
    assert pictures.find_icon(known, ["red-apple"]) == found


def test_captions_name_concept_style_and_background():
    assert captions("red apple", "noto") == ["red apple, noto style", "a red apple", "noto style red apple"]
    assert captions("octopus", "blob", "blue")[1] == "an octopus, on a blue background"
    assert captions("star", "3d", "orange")[0].endswith("on an orange background")
    assert all("white" not in text for text in captions("star", "3d", "white"))


def test_flatten_and_place_put_the_icon_on_the_colour():
    rgba = np.zeros((128, 128, 4), np.uint8)
    rgba[32:96, 32:96] = (255, 0, 0, 255)
    flat = pictures.flatten(rgba, BACKGROUNDS["black"])
    assert flat[0, 0].tolist() == [0, 0, 0] and flat[64, 64].tolist() == [255, 0, 0]
    placed = pictures.place(rgba, 64, (0, 0, 255), 0.5, (10, 0), mirror=False)
    assert placed.shape == (64, 64, 3) and placed[0, 0].tolist() == [0, 0, 255]
    assert placed[32, 42].tolist() == [255, 0, 0] and placed[32, 30].tolist() == [0, 0, 255]


def test_draw_renders_an_icon_and_skips_a_broken_one():
    pytest.importorskip("resvg_py", reason="icons are drawn only when the model is built")
    square = '<path fill="#f00" d="M0 0h16v16H0z"/>'
    icon_set = {"icons": {"square": {"body": square}, "broken": {"body": "<path"}}, "aliases": {"tile": {"parent": "square"}}}
    for name in ("square", "tile"):
        picture = pictures.draw(icon_set, name, 32)
        assert picture.shape == (32, 32, 4) and picture[16, 16].tolist() == [255, 0, 0, 255]
    assert pictures.draw(icon_set, "broken", 32) is None


def test_textures_are_the_same_every_time_and_partly_grey():
    a, b = textures.make_textures(24, 32, seed=3), textures.make_textures(24, 32, seed=3)
    assert np.array_equal(a, b) and a.std() > 30
    grey = [bool((p == p[..., :1]).all()) for p in a]
    assert 3 <= sum(grey) <= 18


def test_photographs_are_cut_at_every_scale_the_same_every_time(tmp_path, monkeypatch):
    from PIL import Image

    from studio.starter import photographs

    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    archive = make_archive(tmp_path, {f"skimage/data/{name}": file.getvalue() for name in photographs.NAMES})
    monkeypatch.setattr(photographs, "fetch", lambda package, folder: archive)
    a, b = (photographs.make_crops(tmp_path, 18, 32, seed=1) for _ in range(2))
    assert a.shape == (18, 32, 32, 3) and np.array_equal(a, b)
    spread = a.std((1, 2, 3))
    assert spread.max() > 1.5 * spread.min()  # noise seen from afar averages out


def test_a_restyled_icon_keeps_its_shape_and_its_range():
    import torch

    from studio.starter import distort

    rgba = np.zeros((8, 128, 128, 4), np.uint8)
    rgba[:, 32:96, 32:96] = (200, 60, 30, 255)
    pool = distort.canvas_rgba(rgba)
    px = distort.flatten(pool, torch.full((8, 3), 255))
    assert px.shape == (8, 3, 80, 80) and px[0, :, 0, 0].tolist() == [1, 1, 1] and px[0, 0, 40, 40] == pytest.approx(200 / 255)
    drawn = distort.restyle(pool, px, torch.Generator().manual_seed(2))
    again = distort.restyle(pool, px, torch.Generator().manual_seed(2))
    assert torch.equal(drawn, again) and drawn.min() >= 0 and drawn.max() <= 1 and not torch.allclose(drawn, px, atol=0.1)
    inside, outside = drawn[..., 36:44, 36:44].mean((1, 2, 3)), drawn[..., 2:8, 2:8].mean((1, 2, 3))
    edge = drawn[..., 40, 16:24].mean(1).sub(outside[:, None]).abs().amax(1)
    assert ((inside - outside).abs().maximum(edge) > 0.1).all()  # filled otherwise, or outlined, it is still there
    moved = distort.resample(px, 64, torch.Generator().manual_seed(0), tilt=0.2)
    assert moved.shape == (8, 3, 64, 64)
    covered = distort.erase(torch.ones(60, 3, 64, 64), torch.Generator().manual_seed(0))
    assert 8 < int((covered.amin((1, 2, 3)) == 0).sum()) < 35


def test_the_plan_of_the_build_loads_without_torch():
    names = (
        "assemble",
        "bench",
        "build",
        "card",
        "demos",
        "packages",
        "pictures",
        "photographs",
        "recipe",
        "report",
        "stages",
        "tokenizer",
        "vocabulary",
    )
    code = f"import sys, importlib\nfor n in {names!r}: importlib.import_module('studio.starter.' + n)\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "False"
