"""What a run will read of a dataset: shapes, frames around the focal point, and figures that are those of the pictures."""

from itertools import combinations, islice

import numpy as np
import pytest
from PIL import Image

from studio.dataset.framing import PLAIN_COLOUR, Edit, render
from studio.dataset.rows import Row
from studio.encode.buckets import MAX_BUCKETS, assign_buckets, bucket_shapes, frames
from studio.encode.plan import MAX_SAMPLES, count_samples, geometry, num_samples, plan, summary
from studio.families import ddpm, sd
from studio.models.bases import find_base
from studio.spec import DataSpec


def row(number, size, split="train", **edit):
    digest = f"{number:064x}"
    return Row(
        file=f"{number}.png", sha256=digest, pixels=digest, width=size[0], height=size[1], split=split, edit=Edit(**edit) if edit else None
    )


@pytest.mark.parametrize("focus", [(0.0, 0.5), (0.3, 0.5), (0.95, 0.5)])
def test_every_frame_holds_the_focal_point_and_the_first_is_around_it(focus):
    found = frames((300, 100), Edit(focus=focus), (64, 64), 8, "x")
    point = focus[0] * found[0].resized[0]
    assert len(found) > 3 * (focus[0] > 0) and all(f.place[0] <= point <= f.place[2] and f.place[2] <= f.resized[0] for f in found)
    middle = (found[0].place[0] + found[0].place[2]) / 2
    assert abs(middle - min(max(point, 32), found[0].resized[0] - 32)) <= 1


def test_a_turned_or_cropped_picture_goes_to_the_shape_it_now_has():
    rows = [row(1, (200, 100)), row(2, (200, 100), turns=1), row(3, (200, 100), crop=(0, 0, 0.5, 1)), row(4, (100, 200), turns=3)]
    buckets = [each.bucket for each in plan(rows, 64, 8, DataSpec())]
    assert buckets[0] == buckets[3] and buckets[0][0] > buckets[0][1] and buckets[1] == buckets[0][::-1] and buckets[2] == (64, 64)


def test_held_out_pictures_are_measured_in_one_frame():
    train, held = plan([row(1, (200, 100)), row(1, (200, 100), "held_out")], 64, 64, DataSpec(flip=True, crops=3))
    assert len(train.frames) == 6 and held.frames == train.frames[:1]


def test_the_summary_counts_pictures_and_what_is_cut_away():
    planned = plan([row(1, (100, 100)), row(2, (100, 100)), row(3, (200, 100))], 64, 64, DataSpec())
    told = {"cut_percent": pytest.approx(100 * 0.5 / 3, abs=0.1), "most_cut_percent": 50.0, "enlarged": 0, "most_enlarged": 0.64}
    assert summary(planned) == [{"width": 64, "height": 64, "images": 3, **told}]


def test_the_summary_says_which_pictures_are_enlarged_and_how_far():
    rows = [row(1, (100, 100)), row(2, (32, 32)), row(3, (62, 62)), row(4, (400, 400), crop=(0, 0, 0.05, 0.05))]
    assert {key: summary(plan(rows, 64, 64, DataSpec()))[0][key] for key in ("enlarged", "most_enlarged")} == {
        "enlarged": 2,
        "most_enlarged": 3.2,
    }


def lost(sizes, kept):
    """The area cut away of all pictures where each goes to the best of these shapes."""
    return sum(min(1 - min(w / h / (a / b), a / b / (w / h)) for a, b in kept) for w, h in sizes)


SETS = {
    "all portraits of 2:3": [(800, 1200)] * 9,
    "all square": [(512, 512)] * 7,
    "panoramas": [(4000, 1000), (3000, 1000), (2400, 1000), (3500, 900), (2000, 600), (1900, 1000)],
    "one outlier of 8:1": [(640, 480)] * 20 + [(800, 100)],
    "three pictures": [(300, 200), (200, 300), (777, 431)],
    "many aspects": [(400 + 37 * n % 900, 400 + 53 * n % 700) for n in range(120)],
    "phones and screens": [(1080, 1920)] * 30
    + [(1170, 2532)] * 9
    + [(1920, 1080)] * 4
    + [(2560, 1440), (1024, 768), (768, 1024), (3440, 1440)],
    "below the shape": [(90, 60), (60, 90), (64, 64)],
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(("size_px", "multiple"), [(512, 64), (64, 8)])
def test_the_shapes_are_those_in_which_least_is_cut_away(name, size_px, multiple):
    sizes = SETS[name]
    shapes = bucket_shapes(size_px, multiple)
    given = assign_buckets(sizes, size_px, multiple)
    assert len(set(given)) <= MAX_BUCKETS and set(given) <= set(shapes)
    assert all(width % multiple == height % multiple == 0 for width, height in given)
    for (w, h), (a, b) in zip(sizes, given, strict=True):  # each picture is in the best of them
        assert lost([(w, h)], [(a, b)]) == pytest.approx(lost([(w, h)], set(given)))
    nearest = sorted({assign_buckets([size], size_px, multiple)[0] for size in sizes})
    others = combinations(nearest, min(MAX_BUCKETS, len(nearest)))
    assert lost(sizes, set(given)) <= min(lost(sizes, kept) for kept in islice(others, 3000)) + 1e-9


def test_a_part_of_the_plan_is_that_of_the_whole():
    rows = [row(n, (64 + 7 * n, 64 + 40 * (n % 3))) for n in range(12)]
    for data in (DataSpec(), DataSpec(flip=True, turns=True)):
        whole = plan(rows, 64, 8, data)
        assert plan(rows, 64, 8, data, only={"3.png"}) == [each for each in whole if each.row.file == "3.png"]


def test_the_geometry_is_that_of_the_picture_as_edited():
    planned = plan([row(1, (200, 100), turns=1)], 64, 64, DataSpec(flip=True, crops=1))[0]
    assert [geometry(planned.row, f) for f in planned.frames] == [(200, 100, 32, 0, 64, 64)] * 2


def views(image, planned):
    """Every frame of a picture as an array."""
    return [np.asarray(render(image, frame)) for each in planned for frame in each.frames]


@pytest.mark.parametrize("size", [(64, 64), (96, 48)])
def test_turns_and_mirror_images_are_all_eight_ways_of_seeing_a_picture(size):
    data = DataSpec(flip=True, turns=True, crops=1)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8))
    planned = plan([row(1, size)], 64, 8, data)
    plain = np.asarray(render(image, planned[0].frames[0]))
    assert [each.is_lying for each in planned] == [False, True] and planned[1].bucket == planned[0].bucket[::-1]
    assert [f.size for f in planned[1].frames] == [planned[1].bucket] * 4
    wanted = [np.rot90(plain, -turns) for turns in range(4)]
    wanted += [way[:, ::-1] for way in wanted]
    seen = views(image, planned)
    assert len(seen) == 8 and all(sum(np.array_equal(way, other) for other in seen) == 1 for way in wanted)


def test_every_picture_is_trained_as_often_upright_as_lying_and_shapes_stay_few():
    rows = [row(n, size) for n, size in enumerate([(64, 64), (96, 48), (48, 96), (120, 40), (80, 64), (64, 80), (100, 50)])]
    planned = plan([*rows, row(9, (70, 30), "held_out")], 64, 8, DataSpec(turns=True))
    assert len({each.bucket for each in planned}) <= MAX_BUCKETS
    for each in rows:
        upright, lying = [p for p in planned if p.row is each]
        assert not upright.is_lying and lying.is_lying and {f.further_turns for f in upright.frames} == {0, 2}
        assert {f.further_turns for f in lying.frames} == {1, 3} and all(f.size == lying.bucket for f in lying.frames)
    assert sum(p.row.split == "held_out" for p in planned) == 1


def test_what_is_kept_of_a_picture_is_bounded_and_begins_with_the_plain_one():
    data = DataSpec(flip=True, turns=True, colour=0.1, crops=16)
    planned = plan([row(1, (400, 100))], 64, 64, data)
    assert [len(p.frames) for p in planned] == [MAX_SAMPLES // 2] * 2 and count_samples(planned) == MAX_SAMPLES
    assert num_samples([row(1, (400, 100))], 64, 64, data) == MAX_SAMPLES == num_samples([row(1, (400, 100))], 64, 64, data)
    assert num_samples([row(1, (400, 100), turns=1), row(2, (64, 64), "held_out")], 64, 64, DataSpec(crops=1)) == 1
    assert planned[0].frames[0] == plan([row(1, (400, 100))], 64, 64, DataSpec(crops=1))[0].frames[0]
    assert all(len(set(p.frames)) == len(p.frames) for p in planned) and planned == plan([row(1, (400, 100))], 64, 64, data)
    every = [f for p in planned for f in p.frames]
    assert (
        any(f.further_mirror for f in every)
        and any(f.colour != PLAIN_COLOUR for f in every)
        and any(f.colour == PLAIN_COLOUR for f in every)
    )
    assert all(90 <= percent <= 110 for f in every for percent in f.colour)
    assert len(plan([row(1, (400, 100))], 64, 64, DataSpec(crops=16, flip=True))[0].frames) > 4


def test_the_geometry_of_a_turned_frame_is_that_of_the_turned_picture():
    planned = plan([row(1, (200, 100))], 64, 64, DataSpec(turns=True, crops=1))
    assert [geometry(p.row, f) for p in planned for f in p.frames] == [
        (100, 200, 0, 32, 64, 64), (100, 200, 0, 32, 64, 64), (200, 100, 32, 0, 64, 64), (200, 100, 32, 0, 64, 64)
    ]  # fmt: skip


def test_shapes_are_known_without_loading_a_model(sd_folder, ddpm_folder):
    import torch

    for family, folder in ((sd, sd_folder), (ddpm, ddpm_folder)):
        facts = family.load(folder, torch.float32, torch.device("cpu")).facts
        assert find_base(str(folder)).shape_px == (facts.size_px, facts.pixel_multiple)
