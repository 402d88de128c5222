"""NIfTI: a volume becomes upright slices of any plane, whichever way it was stored; bad ones are named."""

import numpy as np
import pytest
from PIL import Image

from studio.dataset.intake import create_dataset
from studio.dataset.readers.base import parse_choices
from studio.errors import StudioError
from studio.store import Workspace
from tests.dataset.scans import SECRETS, nifti

SHAPE = (40, 48, 20)  # left-right, back-front, foot-head


def body():
    """A volume along right, front, head (RAS): bright to the right, brighter to the front, a mark at the head; air around."""
    values = np.zeros(SHAPE, np.float32)
    values[8:32, 8:40, 2:18] = 300
    values[20:32, 8:40, 2:18] += 300  # the patient's right half
    values[8:32, 30:40, 2:18] += 300  # the front
    values[8:32, 8:40, 15:18] += 300  # the head end
    return values


def turned(axes):
    """`body` as it is stored along `axes`."""
    import nibabel

    now = nibabel.orientations.axcodes2ornt(("R", "A", "S"))
    change = nibabel.orientations.ornt_transform(now, nibabel.orientations.axcodes2ornt(tuple(axes)))
    return nibabel.orientations.apply_orientation(body(), change)


def slices(workspace, name, path, **choices):
    made = create_dataset(workspace, name, [path], choices=parse_choices(choices))
    return made, [np.asarray(Image.open(made.path(row)).convert("L"), int) for row in made.rows]


@pytest.mark.parametrize("axes", ["LPS", "ASL"])
def test_slices_are_upright_whichever_way_they_were_stored(tmp_path, axes):
    workspace = Workspace.at(tmp_path / "workspace")
    path = nifti(tmp_path / f"sub-{SECRETS[0]}_T1w.nii.gz", turned(axes), axes=axes)
    made, seen = slices(workspace, "axial", path, window="500/1000", plane="axial")
    assert len(seen) == 16 and seen[0].shape == (48, 40), "four slices of air are left out"
    middle = seen[7]
    assert middle[12, 12] > middle[36, 12] > middle[36, 28] > middle[0, 0] == 0, "front at the top, the patient's right on the left"
    assert made.caption(made.rows[7]) == "MRI, T1, axial plane, slice 10 of 20"
    assert made.rows[0].source == "volume 1 axial slice 0003.png" and made.rows[0].note == "window 500/1000"
    assert not any(secret in made.model_dump_json(exclude={"skipped"}) for secret in SECRETS)
    made, seen = slices(workspace, "sagittal", path, window="full", plane="sagittal", every=4)
    assert seen[2].shape == (20, 48)
    assert seen[2][3, 10] > seen[2][10, 10] > seen[2][10, 35] > seen[2][0, 0], "head at the top, front on the left"
    made, seen = slices(workspace, "coronal", path, window="full", plane="coronal", every=6)
    assert seen[2].shape == (20, 40) and seen[2][10, 10] > seen[2][10, 30] and seen[2][3, 10] > seen[2][10, 10]


def test_proportions_values_that_are_no_numbers_and_several_volumes(tmp_path):
    values = np.repeat(body()[..., None], 3, axis=3)
    values[10, 10, 5, 0], values[11, 10, 5, 0] = np.nan, np.inf
    path = nifti(tmp_path / "run.nii", values, spacing=(1, 1, 2.5))
    made, seen = slices(Workspace.at(tmp_path / "w"), "run", path, plane="coronal", every=8)
    assert seen[0].shape == (50, 40), "coarse slices are drawn in true proportions"
    assert made.rows[0].facts == {"plane": "coronal", "slice": 12, "slices": 48, "position": 0.23, "volume": 1, "volumes": 3}
    made, seen = slices(Workspace.at(tmp_path / "w"), "axial", path)
    assert len(seen) == 16, "the coarsest axis is the one that was sliced"
    (strange,) = [row for row in made.rows if "no numbers" in row.note]
    assert "2 of its values are no numbers and became black" in strange.note and strange.facts["slice"] == 6


def test_volumes_of_a_4d_file_are_chosen(tmp_path):
    values = np.stack([body() * (1 + i) for i in range(6)], axis=3).reshape(*SHAPE, 2, 3, order="F")
    path = nifti(tmp_path / "bold.nii", values)
    workspace = Workspace.at(tmp_path / "w")
    made, seen = slices(workspace, "some", path, volumes="2, 4-5", every=10, window="500/1000")
    assert [(row.facts["volume"], row.facts["slice"]) for row in made.rows] == [(v, k) for v in (2, 4, 5) for k in (5, 15)]
    assert [image[30, 28] for image in seen[::2]] == [round(min(1, 0.3 * v) * 255) for v in (2, 4, 5)], "in the order of the file"
    assert made.rows[0].source == "volume 1 part 002 axial slice 0005.png" and made.rows[0].facts["volumes"] == 6
    made, _ = slices(workspace, "all", path, volumes="all", every=20)
    assert len(made.rows) == 6 and len({row.note for row in made.rows}) == 1
    for wrong in ("7", "0", "1-9", "x", "3-2"):
        with pytest.raises(StudioError, match="volumes: there is no volume .*: it has 6, counted from 1, or say all"):
            slices(workspace, "none", path, volumes=wrong)


def test_pairs_second_versions_colour_and_odd_headers(tmp_path):
    import nibabel

    folder = tmp_path / "given"
    folder.mkdir()
    nibabel.save(nibabel.Nifti1Pair(body(), np.eye(4)), folder / "pair.hdr")
    (folder / "alone.img").write_bytes(b"values")
    (folder / "lost.hdr").write_bytes((folder / "pair.hdr").read_bytes())
    nibabel.save(nibabel.Nifti2Image(body(), np.eye(4)), folder / "second.nii.gz")
    colour = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colour["R"], colour["B"] = (body() / 8).astype(np.uint8), 40
    nibabel.save(nibabel.Nifti1Image(colour, np.eye(4)), folder / "colour.nii")
    nifti(folder / "slope.nii", body(), scl_slope=0.0, scl_inter=0.0)
    nifti(folder / "own.nii", body(), cal_min=300, cal_max=900)
    odd = nibabel.Nifti1Image(body(), None)
    odd.set_sform(np.zeros((4, 4)), code=1)
    nibabel.save(odd, folder / "nowhere.nii")
    turned_by_30 = np.array([[0.866, -0.5, 0, 0], [0.5, 0.866, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(body(), turned_by_30), folder / "oblique.nii")
    nifti(folder / "single.nii", body()[:, 24:25, :])
    made = create_dataset(Workspace.at(tmp_path / "w"), "odd", [folder], choices=parse_choices({"every": 9}))
    told = {each.file.partition(" (")[0]: each.reason for each in made.skipped}
    assert told["alone.img"] == "is the half of a volume that holds its values: import it with its .hdr beside it"
    assert told["lost.hdr"] == "is the half of a volume that holds its header: import it with its .img beside it"
    assert "pair.img" not in told
    shown = [(row.facts["plane"], row.width, row.height, row.note) for row in made.rows]
    assert len(shown) == 7 * 2 and {each[:3] for each in shown} == {("axial", 40, 48)}
    assert len([note for *_, note in shown if note.startswith("values 300 to 900 shown, from its header")]) == 2
    (red,) = [row for row in made.rows if row.note == "" and row.facts["slice"] == 5]
    assert np.asarray(Image.open(made.path(red)))[17, 17].tolist() == [112, 0, 40]
    whole = create_dataset(Workspace.at(tmp_path / "w"), "single", [folder / "single.nii"])
    assert [row.facts["plane"] for row in whole.rows] == ["coronal"] and (whole.rows[0].width, whole.rows[0].height) == (40, 20)


def test_bad_volumes_are_named_and_the_rest_goes_on(tmp_path, pictures):
    folder = tmp_path / "given"
    folder.mkdir()
    nifti(folder / "flat.nii", np.zeros((4, 4), np.float32))
    nifti(folder / "nothing.nii", np.full((20, 20, 20), np.nan, np.float32))
    nifti(folder / "narrow.nii", np.random.default_rng(0).random((200, 20, 3), np.float32))
    whole = nifti(tmp_path / "whole.nii.gz", np.random.default_rng(0).random((30, 30, 30), np.float32)).read_bytes()
    (folder / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "no.nii").write_bytes(b"not a volume at all" * 100)
    huge = bytearray(nifti(tmp_path / "huge.nii", np.zeros((4, 4, 4), np.int16)).read_bytes())
    huge[40:56] = np.array([3, 2000, 2000, 1000, 1, 1, 1, 1], "<i2").tobytes()
    (folder / "huge.nii").write_bytes(huge)
    huge[40:56] = np.array([3, 600, 600, 600, 1, 1, 1, 1], "<i2").tobytes()
    (folder / "claims.nii").write_bytes(huge)
    for name in ("brain.mgz", "brain.mha", "slide.svs", "rain.nc"):
        (folder / name).write_bytes(b"\x1f\x8b of another kind")
    made = create_dataset(Workspace.at(tmp_path / "w"), "mixed", [folder, pictures / "a0.png"])
    told = {each.file.partition(" (")[0]: each.reason for each in made.skipped}
    assert len(made.rows) == 1
    assert told["flat.nii"] == "is a NIfTI file of 2 dimensions, not a volume"
    assert told["nothing.nii"] == "holds no finite value: export it again"
    assert told["narrow.nii"].startswith("is 200x20 px, too elongated") or "too small" in told["narrow.nii"]
    assert "cut short or damaged" in told["cut.nii.gz"] and "is no NIfTI volume or damaged" in told["no.nii"]
    assert told["huge.nii"] == "has 4000 million voxels, more than 300 million: crop it first" and "cut short" in told["claims.nii"]
    assert told["brain.mgz"] == told["brain.mha"] == "is a medical volume of another kind: convert it to NIfTI (.nii.gz)"
    assert "a microscope's file: export its pictures" in told["slide.svs"] and "convert it to GeoTIFF" in told["rain.nc"]
    with pytest.raises(StudioError, match="none could be read"):
        create_dataset(Workspace.at(tmp_path / "w"), "bad", [folder / "no.nii"])
