"""A dataset on disk: loaded, listed, its captions edited by anyone, damage named."""

import json
import shutil

import pytest

from studio.dataset.intake import create_dataset
from studio.dataset.rows import Dataset, list_datasets, open_dataset
from studio.errors import StudioError


def test_loading_gives_what_was_made(dataset):
    assert Dataset.load(dataset.root) == dataset
    assert json.loads((dataset.root / "dataset.json").read_text())["schema"] == 1
    assert len(dataset.train_rows) == 8
    assert len(dataset.held_out_rows) == 2


def test_a_copied_folder_is_the_same_dataset(dataset, tmp_path):
    shutil.copytree(dataset.root, tmp_path / "copy")
    assert Dataset.load(tmp_path / "copy").rows == dataset.rows


def test_a_caption_edited_with_any_editor_counts(dataset):
    row = dataset.rows[3]
    assert dataset.caption(row) == "picture number 3"
    file = dataset.path(row).with_suffix(".txt")
    file.write_bytes("größer\r\n".encode("utf-16"))
    assert dataset.caption(row) == "größer"
    file.unlink()
    assert dataset.caption(row) == ""
    dataset.set_caption(row, "set\nagain\0")
    assert file.read_bytes() == b"set again"


def test_datasets_are_found_by_label_and_by_folder(workspace, dataset, pictures):
    create_dataset(workspace, "Größe 東京", [pictures])
    assert [each.name for each in list_datasets(workspace)] == ["Größe 東京", "Ten pictures"]
    assert open_dataset(workspace, "ten pictures").name == "Ten pictures"
    assert open_dataset(workspace, "ten-pictures") == dataset
    assert open_dataset(workspace, "Größe 東京").root.name == "grösse-東京"


def test_an_unknown_name_lists_the_known(workspace, dataset):
    with pytest.raises(StudioError, match="no dataset is called 'cats': there are Ten pictures"):
        open_dataset(workspace, "cats")
    with pytest.raises(StudioError, match="no dataset is called '../..'"):
        open_dataset(workspace, "../..")


def test_an_empty_workspace_says_what_to_do(workspace):
    assert list_datasets(workspace) == []
    with pytest.raises(StudioError, match="none yet, import pictures or load a demo"):
        open_dataset(workspace, "cats")


@pytest.mark.parametrize(
    "damage, reason",
    [
        (lambda value: value | {"rows": [{"file": "a.png"}]}, r"rows\.0\.sha256"),
        (lambda value: value | {"extra": 1}, "extra"),
        (lambda value: value | {"schema": 2}, "newer version"),
        (lambda value: value | {"schema": None}, "schema"),
        (lambda value: [], "damaged"),
        (lambda value: value | {"rows": [value["rows"][0] | {"file": "../../secret.png"}]}, "is not a name in"),
    ],
)
def test_a_damaged_index_is_refused_in_one_line(dataset, workspace, damage, reason):
    index = dataset.root / "dataset.json"
    index.write_text(json.dumps(damage(json.loads(index.read_text()))))
    with pytest.raises(StudioError, match=reason) as caught:
        open_dataset(workspace, "Ten pictures")
    assert "\n" not in str(caught.value)
    assert list_datasets(workspace) == []


@pytest.mark.parametrize("text", ["", "{", "\0\0\0\0", "é".encode("latin-1")])
def test_a_half_written_index_is_refused(dataset, text):
    (dataset.root / "dataset.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StudioError, match="damaged"):
        Dataset.load(dataset.root)


@pytest.mark.parametrize("name", ["../up.png", "a/b.png", "", "..", "line\nbreak.png", "away.png"])
def test_rows_that_lead_outside_are_refused(workspace, dataset, name):
    (dataset.root / "away.png").symlink_to("/etc/passwd")
    (dataset.root / "near.png").symlink_to(dataset.rows[0].file)
    rows = [*dataset.rows, dataset.rows[0].model_copy(update={"file": "near.png"})]
    dataset.model_copy(update={"rows": rows}).save()
    assert len(Dataset.load(dataset.root).rows) == 11
    dataset.model_copy(update={"rows": [*rows, dataset.rows[0].model_copy(update={"file": name})]}).save()
    with pytest.raises(StudioError, match="is not a name in|leads outside"):
        Dataset.load(dataset.root)
