"""What a run will read of a dataset: shapes, frames around the focal point, and figures that are those of the pictures."""

import pytest

from studio.dataset.framing import Edit
from studio.dataset.rows import Row
from studio.encode.buckets import frames
from studio.encode.plan import geometry, plan, summary
from studio.families import ddpm, sd
from studio.models import find_base
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
    assert summary(planned) == [
        {"width": 64, "height": 64, "images": 3, "cut_percent": pytest.approx(100 * 0.5 / 3, abs=0.1), "most_cut_percent": 50.0}
    ]


def test_the_geometry_is_that_of_the_picture_as_edited():
    planned = plan([row(1, (200, 100), turns=1)], 64, 64, DataSpec(flip=True, crops=1))[0]
    assert [geometry(planned.row, f) for f in planned.frames] == [(200, 100, 32, 0, 64, 64)] * 2


def test_shapes_are_known_without_loading_a_model(sd_folder, ddpm_folder):
    import torch

    for family, folder in ((sd, sd_folder), (ddpm, ddpm_folder)):
        facts = family.load(folder, torch.float32, torch.device("cpu")).facts
        assert find_base(str(folder)).shape_px == (facts.size_px, facts.pixel_multiple)
