"""Pictures compared by what they show: arithmetic on made features, and the embedded tower on real pictures."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from studio.dataset import likeness
from studio.dataset.doctor.examine import Looker, examine
from studio.dataset.intake import DEMOS, create_dataset, create_demo
from studio.dataset.report import report
from studio.errors import StudioError
from studio.store import Workspace
from studio.tower import Tower, squared


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def cloud(rng, middle, num, spread=0.15):
    return unit(np.asarray(middle) + spread * rng.standard_normal((num, len(middle))))


def test_neighbours_are_the_nearest_others():
    nearest, cosines = likeness.neighbours(unit([[1, 0], [1, 0.1], [0, 1], [0.1, 1]]), 2)
    assert nearest[:, 0].tolist() == [1, 0, 3, 2] and (cosines[:, 0] > cosines[:, 1]).all()
    assert likeness.neighbours(unit([[1, 0], [0, 1]]), 5)[0].shape == (2, 1)


def test_the_stranger_is_an_outlier_and_a_plain_crowd_has_none():
    rng = np.random.default_rng(0)
    crowd = cloud(rng, [1.0] + [0] * 15, 40)
    assert likeness.outliers(crowd) == []
    stranger = unit([[0] * 15 + [1.0]])
    assert likeness.outliers(np.concatenate([crowd, stranger])) == [40]
    assert likeness.outliers(np.concatenate([crowd[:5], stranger])) == []  # too few to tell


def test_the_domain_distance_is_near_zero_for_one_domain_and_grows_with_the_gap():
    rng = np.random.default_rng(1)
    home, near, far = ([1.0, 0, 0, 0], [1.0, 0.5, 0, 0], [0, 0, 0, 1.0])
    same = likeness.domain_distance(cloud(rng, home, 60), cloud(rng, home, 60))
    close = likeness.domain_distance(cloud(rng, home, 60), cloud(rng, near, 60))
    apart = likeness.domain_distance(cloud(rng, home, 60), cloud(rng, far, 60))
    assert abs(same) < 0.05 < close < apart
    with pytest.raises(StudioError, match="two pictures"):
        likeness.domain_distance(cloud(rng, home, 1), cloud(rng, home, 60))


def test_features_are_computed_once_per_picture(tmp_path):
    workspace = Workspace.at(tmp_path)
    dataset = create_demo(workspace, "icons", "icons")
    asked = []

    def compute(paths):
        asked.append(len(paths))
        return np.stack([np.full(4, n, np.float32) for n in range(len(paths))])

    first = likeness.dataset_features(workspace, dataset, compute, "a")
    again = likeness.dataset_features(workspace, dataset, compute, "a")
    assert asked == [len(dataset.rows)] and np.array_equal(first, again) and first.shape == (len(dataset.rows), 4)
    likeness.dataset_features(workspace, dataset, compute, "other weights")
    assert len(asked) == 2


def test_a_picture_is_squared_on_its_borders_colour():
    tall = Image.new("RGB", (20, 60), (10, 200, 30))
    assert squared(tall).size == (60, 60) and squared(tall).getpixel((0, 0)) == (10, 200, 30)


@pytest.fixture(scope="module")
def icons():
    rows = [json.loads(line) for line in (DEMOS / "icons" / "metadata.jsonl").read_text("utf-8").splitlines()]
    return [Image.open(DEMOS / "icons" / row["file_name"]).convert("RGB") for row in rows]


def changed(picture):
    """The same picture as another program would hand it on: smaller, recompressed, a little cut."""
    file = io.BytesIO()
    picture.resize((150, 150)).crop((3, 2, 148, 149)).save(file, "JPEG", quality=60)
    return Image.open(file).convert("RGB")


def test_the_tower_finds_the_changed_copy_among_all_pictures(icons):
    tower = Tower()
    own, copies = tower.image_features(icons).numpy(), tower.image_features([changed(p) for p in icons]).numpy()
    assert own.shape == (len(icons), 128) and np.allclose(np.linalg.norm(own, axis=1), 1, atol=1e-5)
    found = (copies @ own.T).argmax(1) == np.arange(len(icons))
    assert found.mean() > 0.9
    alike = (np.einsum("nd,nd->n", own, copies) >= likeness.MIN_LIKE).mean()
    assert alike > 0.8, "copies are told as such"
    others = (own @ own.T)[np.triu_indices(len(own), 1)]
    assert (others >= likeness.MIN_LIKE).mean() < 0.01, "different icons are not"


def test_the_report_names_copies_and_what_does_not_belong(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n, file in enumerate(sorted((DEMOS / "brain-mri").glob("axial*.png"))[:20]):
        Image.open(file).save(folder / f"{n:02d}.png")
    changed(Image.open(folder / "07.png").convert("RGB")).save(folder / "copy.png")
    Image.open(DEMOS / "icons" / "sunflower.png").save(folder / "stranger.png")
    workspace = Workspace.at(tmp_path / "workspace")
    dataset = create_dataset(workspace, "brain", [folder])
    tower = Tower()
    examine(workspace, "brain", lambda done, total: None, Looker(lambda paths: tower.file_features(paths).numpy(), tower.fingerprint))
    found = report(dataset)
    source = {row.file: row.source for row in dataset.rows}
    assert [source[f] for f in found["outliers"]][:1] == ["stranger.png"]
    alike = [*found["lookalikes"], *(each["files"] for each in found["duplicates"])]
    assert any({"07.png", "copy.png"} <= {source[f] for f in group} for group in alike)
    assert "1 picture unlike all the rest" in found["notes"]


def test_a_picture_that_vanished_is_named(tmp_path):
    with pytest.raises(StudioError, match="gone.png cannot be read"):
        Tower().file_features([tmp_path / "gone.png"])
