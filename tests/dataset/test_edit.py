"""A dataset is changed whole or not at all, by one at a time, and every change can be undone."""

import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest
from PIL import Image

from studio.dataset import about, edit, removal, wording
from studio.dataset.doctor.chart import read_chart
from studio.dataset.edit import add_pictures
from studio.dataset.rows import Dataset, list_datasets, open_dataset
from studio.dataset.split import num_held_out
from studio.dataset.versions import VERSIONS
from studio.dataset.wording import Wording
from studio.errors import StudioError
from studio.trash import list_trash
from tests.dataset.corpus import encode, photo
from tests.dataset.test_intake import NAMES, tree


@pytest.fixture
def more(tmp_path):
    """Ten other pictures with captions, and a file that is none."""
    folder = tmp_path / "more"
    folder.mkdir()
    for i in range(10):
        (folder / f"b{i}.png").write_bytes(encode(photo(100 + i), "PNG"))
        (folder / f"b{i}.txt").write_text(f"other {i}")
    (folder / "bad.png").write_bytes(b"bad")
    return folder


def test_pictures_are_added_and_what_was_decided_stays(workspace, dataset, more):
    before = Dataset.load(dataset.root)
    seen = []
    added = add_pictures(workspace, dataset.name, [more], progress=lambda *step: seen.append(step))
    after = Dataset.load(dataset.root)
    assert after == added.dataset
    assert after.rows[:10] == before.rows
    assert [row.file for row in after.rows[10:]] == added.files
    assert added.files[0] == "0011-b0.png" and after.caption(after.rows[10]) == "other 0"
    assert len(after.held_out_rows) == num_held_out(20)
    assert [(s.file, "holds text" in s.reason) for s in added.skipped] == [("bad.png", True)]
    assert seen[-1] == (11, 11, "")
    assert {p.name for p in workspace.datasets.iterdir()} == {dataset.root.name}


def test_what_is_there_already_is_said_and_skipped(workspace, dataset, pictures, more):
    shutil.copy(more / "b0.png", more / "twin of b0.png")
    added = add_pictures(workspace, dataset.name, [pictures / "a3.png", more / "b0.png", more / "twin of b0.png"])
    assert added.files == ["0011-b0.png"]
    assert [(s.file, s.reason) for s in added.skipped] == [
        ("a3.png", "is the same picture as 0004-a3.png, which is here already"),
        ("twin of b0.png", "is the same picture as 0011-b0.png, which is here already"),
    ]
    assert add_pictures(workspace, dataset.name, [pictures]).files == []
    assert Dataset.load(dataset.root).skipped == []


def test_a_look_alike_joins_the_side_of_the_picture_it_resembles(workspace, dataset, tmp_path):
    for row in (dataset.train_rows[0], dataset.held_out_rows[0]):
        number = dataset.rows.index(row)
        copy = tmp_path / f"copy{number}.png"
        copy.write_bytes(encode(photo(int(row.source[1])).resize((192, 128)), "PNG"))
        added = add_pictures(workspace, dataset.name, [copy])
        new = added.dataset.rows[-1]
        assert (new.split, new.group) == (row.split, added.dataset.rows[number].group) and new.group
    shutil.rmtree(workspace.cache / "prints")  # made again from the stored pictures
    copy.write_bytes(encode(photo(int(row.source[1])).resize((160, 112)), "PNG"))
    added = add_pictures(workspace, dataset.name, [copy])
    assert added.dataset.rows[-1].group == added.dataset.rows[number].group


def test_look_alikes_of_what_is_added_or_comes_back_are_those_of_a_comparison_of_all(workspace, dataset, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "more")
    for path in sorted((tmp_path / "more").glob("*.png"))[:4]:
        with Image.open(path) as image:
            image.resize((image.width * 2, image.height * 2)).save(path)
            image.transpose(Image.Transpose.ROTATE_90).save(path.with_name(f"turned-{path.name}"))
    add_pictures(workspace, dataset.name, [tmp_path / "more"])

    def told(chart):
        return sorted((*sorted((pair.first, pair.second)), pair.kind, pair.told) for pair in chart.pairs)

    def whole():
        now = Dataset.load(dataset.root)
        return told(edit.renewed(workspace, now, read_chart(now.root)))

    added = told(read_chart(dataset.root))
    assert {kind for _, _, kind, _ in added} == {"near", "turned"} and len(added) >= 8 and added == whole()
    undo = removal.remove_pictures(workspace, dataset.name, [row.file for row in Dataset.load(dataset.root).rows[2:13]])["undo"]
    removal.restore_pictures(workspace, dataset.name, undo)
    assert told(read_chart(dataset.root)) == added == whole()


def test_nothing_readable_and_a_cancelled_addition_change_nothing(workspace, dataset, more, tmp_path):
    before = tree(dataset.root)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StudioError, match="there are no pictures here"):
        add_pictures(workspace, dataset.name, [tmp_path / "empty"])

    def cancel(done, total, name):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_pictures(workspace, dataset.name, [more], progress=cancel)
    assert tree(dataset.root) == before
    assert [path.name for path in workspace.datasets.iterdir()] == [dataset.root.name]


def test_an_error_while_it_is_put_in_place_changes_nothing(workspace, dataset, more, monkeypatch):
    before = tree(dataset.root)
    monkeypatch.setattr(Dataset, "save", lambda self: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError):
        add_pictures(workspace, dataset.name, [more])
    assert tree(dataset.root) == before


KILLED = """
import os, signal, sys
from pathlib import Path
from studio.dataset import edit
from studio.dataset.rows import Dataset
from studio.store import Workspace
def save(self):
    os.kill(os.getpid(), signal.SIGKILL)
Dataset.save = save
edit.add_pictures(Workspace.at(sys.argv[1]), sys.argv[2], [Path(sys.argv[3])])
"""


def test_a_killed_addition_leaves_the_dataset_as_it_was(workspace, dataset, more):
    before = tree(dataset.root)
    done = subprocess.run([sys.executable, "-c", KILLED, str(workspace.root), dataset.name, str(more)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert Dataset.load(dataset.root).rows == dataset.rows
    assert len(tree(dataset.root)) > len(before)
    edit.rename_dataset(workspace, dataset.name, "other")  # any change clears away what was left
    edit.rename_dataset(workspace, "ten-pictures", dataset.name)
    assert tree(dataset.root).keys() == before.keys()
    assert len(add_pictures(workspace, dataset.name, [more]).files) == 10


def test_two_who_add_and_remove_at_once_lose_nothing(workspace, dataset, more, tmp_path):
    others = tmp_path / "others"
    others.mkdir()
    for i in range(8):
        (others / f"c{i}.png").write_bytes(encode(photo(200 + i), "PNG"))
    files = [row.file for row in dataset.rows[:4]]
    jobs = [
        lambda: add_pictures(workspace, dataset.name, [more]),
        lambda: add_pictures(workspace, dataset.name, [others]),
        *(lambda file=file: removal.remove_pictures(workspace, dataset.name, [file]) for file in files),
    ]
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = Dataset.load(dataset.root)
    assert len(after.rows) == len({row.file for row in after.rows}) == 10 + 10 + 8 - 4
    assert all(after.path(row).exists() for row in after.rows)
    assert {row.file for row in dataset.rows} - {row.file for row in after.rows} == set(files)


def test_the_same_removal_twice_at_once_is_said_to_one(workspace, dataset):
    outcomes = []

    def press():
        try:
            outcomes.append(removal.remove_pictures(workspace, dataset.name, [dataset.rows[0].file])["removed"])
        except StudioError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=press) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == ["1", "these pictures are not in the dataset any more: they were removed in another window"]


def test_removed_pictures_come_back_to_their_places(workspace, dataset):
    before = tree(dataset.root)
    files = [dataset.rows[i].file for i in (0, 4, 9)]
    undo = removal.remove_pictures(workspace, dataset.name, [*files, "no such.png"])
    now = Dataset.load(dataset.root)
    assert len(now.rows) == 7 and not any(dataset.path(row).exists() for row in dataset.rows if row.file in files)
    assert removal.list_history(now)[0]["text"] == "Removed 3 pictures"
    assert wording.undo_change(workspace, dataset.name, undo["undo"])["restored"] == 3
    assert Dataset.load(dataset.root).rows == dataset.rows
    assert tree(dataset.root) == before
    with pytest.raises(StudioError, match="undone already"):
        wording.undo_change(workspace, dataset.name, undo["undo"])


def test_a_number_is_never_given_twice(workspace, dataset, more):
    removal.remove_pictures(workspace, dataset.name, [dataset.rows[-1].file])
    assert add_pictures(workspace, dataset.name, [more / "b0.png"]).files == ["0011-b0.png"]


def test_a_picture_that_comes_back_beside_its_twin_is_not_on_both_sides(workspace, dataset, pictures):
    row = dataset.train_rows[0]
    undo = removal.remove_pictures(workspace, dataset.name, [row.file])["undo"]
    add_pictures(workspace, dataset.name, [pictures / row.source])
    removal.restore_pictures(workspace, dataset.name, undo)
    twins = [r for r in Dataset.load(dataset.root).rows if r.pixels == row.pixels]
    assert [r.split for r in twins] == ["train", "train"]


@pytest.mark.parametrize("undo", ["../../x", "", "0", "abc", "99999999999999999999", "٣"])
def test_what_cannot_be_undone_is_said(workspace, dataset, undo):
    with pytest.raises(StudioError):
        wording.undo_change(workspace, dataset.name, undo)


def test_a_deleted_dataset_comes_back(workspace, dataset):
    before = tree(dataset.root)
    token = removal.delete_dataset(workspace, dataset.name)
    assert list_datasets(workspace) == [] and list_trash(workspace)[0]["title"] == "Ten pictures"
    with pytest.raises(StudioError, match="no dataset is called"):
        removal.delete_dataset(workspace, dataset.name)
    assert removal.restore_dataset(workspace, token) == dataset.root.name
    assert tree(dataset.root) == before


def test_a_label_changes_and_the_folder_stays(workspace, dataset, pictures):
    from studio.dataset.intake import create_dataset

    create_dataset(workspace, "Other", [pictures / "a0.png"])
    assert edit.rename_dataset(workspace, dataset.name, " <b>Größe</b>\n${x} ") == "<b>Größe</b> ${x}"
    assert open_dataset(workspace, "<b>Größe</b> ${x}").root == dataset.root
    for name, reason in (("other", "exists already"), ("...", "letter or digit"), ("x" * 121, "at most 120")):
        with pytest.raises(StudioError, match=reason):
            edit.rename_dataset(workspace, dataset.root.name, name)


CAPTIONS = ("a ${console.error(1)} {{value}}", '<img src=x onerror="alert(1)">', "العربية 東京 👨‍👩‍👧", "two\nlines\x00\x1b[31m", "")


@pytest.mark.parametrize("text", CAPTIONS)
def test_any_caption_is_kept_as_one_line_and_touches_its_file_and_the_list_of_versions(workspace, dataset, text):
    before, row = tree(dataset.root), dataset.rows[3]
    stored, note = edit.set_caption(workspace, dataset, row.file, text)
    assert stored == dataset.caption(row) and not note
    assert stored == " ".join(text.replace("\x00", " ").replace("\x1b", " ").split())
    changed = {name for name, digest in tree(dataset.root).items() if before.get(name) != digest}
    assert changed <= {row.file.replace(".png", ".txt"), VERSIONS}


def test_a_long_caption_is_cut_and_that_is_said(workspace, dataset):
    stored, note = edit.set_caption(workspace, dataset, dataset.rows[0].file, "x" * 2**16)
    assert len(stored) == 8192 and note == "its caption was cut at 8 KiB"


def test_a_caption_that_changed_elsewhere_is_not_lost(workspace, dataset):
    file = dataset.rows[0].file
    edit.set_caption(workspace, dataset, file, "mine", before="picture number 0")
    with pytest.raises(StudioError, match="it is now 'mine'"):
        edit.set_caption(workspace, dataset, file, "yours", before="picture number 0")
    edit.set_caption(workspace, dataset, file, "yours")
    assert dataset.caption(dataset.rows[0]) == "yours"
    with pytest.raises(StudioError, match="not in Ten pictures"):
        edit.set_caption(workspace, dataset, "../../etc/passwd", "x")


def captions(dataset):
    return [dataset.caption(row) for row in dataset.rows]


@pytest.mark.parametrize(
    "change, first",
    [
        ({"operation": "prefix", "text": "an MRI,"}, "an MRI, picture number 0"),
        ({"operation": "suffix", "text": ", blurred"}, "picture number 0, blurred"),
        ({"operation": "suffix", "text": "at night"}, "picture number 0 at night"),
        ({"operation": "replace", "find": "PICTURE", "replace": r"\1 $& <b>"}, r"\1 $& <b> number 0"),
        ({"operation": "trigger"}, "brainmri, picture number 0"),
    ],
)
def test_a_change_of_many_is_previewed_made_and_undone(workspace, dataset, change, first):
    about.set_trigger(workspace, dataset.name, "brainmri")
    dataset, before = Dataset.load(dataset.root), captions(dataset)
    told = wording.preview(dataset, Wording(**change))
    assert (told["count"], told["of"], told["examples"][0]["after"]) == (10, 10, first)
    assert captions(dataset) == before
    made = wording.apply(workspace, dataset.name, Wording(**change))
    assert made["count"] == 10 and captions(dataset)[0] == first
    edit.set_caption(workspace, dataset, dataset.rows[1].file, "by hand")
    assert wording.undo_change(workspace, dataset.name, made["undo"])["text"] == "Put back 9 captions; 1 edited since stay as they are"
    assert captions(dataset) == [before[0], "by hand", *before[2:]]


def test_only_the_chosen_ones_change_and_nothing_twice(workspace, dataset):
    about.set_trigger(workspace, dataset.name, "picture")
    assert wording.apply(workspace, dataset.name, Wording(operation="trigger"))["count"] == 0  # they name it already
    files = [dataset.rows[2].file, "not there.png"]
    assert wording.apply(workspace, dataset.name, Wording(operation="prefix", text="a", files=files))["count"] == 1
    assert captions(dataset)[1:4] == ["picture number 1", "a picture number 2", "picture number 3"]
    strict = Wording(operation="replace", find="PICTURE", replace="x", match_case=True)
    assert wording.preview(dataset, strict)["count"] == 0


def test_a_template_fills_the_empty_ones(workspace, tmp_path):
    from studio.dataset.intake import create_dataset

    (tmp_path / "axial_T1-012.png").write_bytes(encode(photo(0), "PNG"))
    (tmp_path / "b.png").write_bytes(encode(photo(1), "PNG"))
    (tmp_path / "b.txt").write_text("has one")
    dataset = create_dataset(workspace, "t", [tmp_path / "axial_T1-012.png", tmp_path / "b.png", tmp_path / "b.txt"])
    with pytest.raises(StudioError, match="no trigger word yet"):
        wording.apply(workspace, "t", Wording(operation="template", text="{trigger}, {name}"))
    about.set_trigger(workspace, "t", "mri {name}")
    assert wording.apply(workspace, "t", Wording(operation="template", text="{trigger}, {name}"))["count"] == 1
    assert captions(dataset) == ["mri {name}, axial T1", "has one"]


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"operation": "replace"}, "type what to find"),
        ({"operation": "prefix", "text": "  "}, "type the text"),
        ({"operation": "trigger"}, "type it first"),
        ({"operation": "template", "text": "{x.__class__}"}, "is not known"),
    ],
)
def test_a_change_that_asks_for_nothing_is_refused(workspace, dataset, change, reason):
    with pytest.raises(StudioError, match=reason):
        wording.apply(workspace, dataset.name, Wording(**change))


def test_the_trigger_word_is_one_short_line(workspace, dataset):
    assert about.set_trigger(workspace, dataset.name, "  brain   mri ") == "brain mri"
    for bad in ("a\nb", "x" * 61, "a\x1bb"):
        with pytest.raises(StudioError, match="trigger word"):
            about.set_trigger(workspace, dataset.name, bad)
    assert Dataset.load(dataset.root).about["trigger"] == "brain mri"
    assert about.set_trigger(workspace, dataset.name, "") == "" and "trigger" not in Dataset.load(dataset.root).about


def test_any_name_can_be_added(workspace, dataset, tmp_path):
    folder = tmp_path / "names"
    folder.mkdir()
    for i, name in enumerate(NAMES):
        (folder / name).write_bytes(encode(photo(300 + i), "PNG"))
    added = add_pictures(workspace, dataset.name, [folder])
    assert len(added.files) == len(NAMES) and not added.skipped
    assert all("/" not in file and len(os.fsencode(file)) <= 80 for file in added.files)
