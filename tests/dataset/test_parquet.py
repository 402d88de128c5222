"""Parquet tables and kohya's folders: datasets leave and come back the same; tables that cannot be read are named."""

import json
import zipfile

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from studio.dataset.export import export_dataset, stream_zip
from studio.dataset.intake import create_dataset
from studio.dataset.pixels import Unreadable
from studio.dataset.readers import parquet
from studio.dataset.wording import Wording, apply
from studio.errors import StudioError
from tests.dataset.corpus import encode, photo
from tests.dataset.scans import series


def told(dataset):
    return sorted((row.pixels, row.split, dataset.caption(row)) for row in dataset.rows)


def test_a_dataset_comes_back_from_parquet_as_it_was(workspace, dataset, tmp_path):
    out = export_dataset(dataset, tmp_path / "out", "parquet")
    names = {path.name for path in (out / "data").iterdir()}
    assert names == {"train-00000-of-00001.parquet", "validation-00000-of-00001.parquet"}
    table = pyarrow.parquet.ParquetFile(out / "data" / "train-00000-of-00001.parquet")
    assert json.loads(table.schema_arrow.metadata[b"huggingface"])["info"]["features"]["image"] == {"_type": "Image"}
    again = create_dataset(workspace, "again", [out])
    assert told(again) == told(dataset)
    assert again.rows[0].source == "table 1 row 000001.png" and not again.rows[0].group.startswith(("p", "s"))
    archive = tmp_path / "tables.zip"
    archive.write_bytes(b"".join(stream_zip(dataset, "parquet")))
    with zipfile.ZipFile(archive) as found:
        assert {name: found.read(name) for name in found.namelist()} == {
            f"data/{path.name}": path.read_bytes() for path in (out / "data").iterdir()
        }
    assert told(create_dataset(workspace, "from the zip", [archive])) == told(dataset)


def test_tables_of_other_shapes_and_those_that_cannot_be_read(workspace, tmp_path):
    def write(name, **columns):
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / name, row_group_size=2)

    data = [encode(photo(i), "JPEG") for i in range(5)]
    write("plain.parquet", jpg=pyarrow.array([*data[:4], b"no picture"]), caption=["one", "two", "=three\nfour", None, "five"])
    write("names.parquet", image=pyarrow.array([{"bytes": None, "path": "a.jpg"}]))
    write("numbers.parquet", label=[1, 2])
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "plain.parquet").read_bytes()[:500])
    made = create_dataset(workspace, "tables", [tmp_path])
    assert sorted(made.caption(row) for row in made.rows) == ["", "=three four", "one", "two"]
    reasons = {each.file.partition(" (")[0]: each.reason for each in made.skipped}
    assert reasons["names.parquet"] == "holds the name of a picture, not the picture itself"
    assert reasons["numbers.parquet"] == "is a Parquet table without a column of pictures"
    assert "damaged Parquet table" in reasons["cut.parquet"] and "PNG, JPEG" in reasons["plain.parquet"]


def test_pictures_in_structs_lists_and_huge_row_groups_are_found(workspace, tmp_path):
    data = [encode(photo(i), "PNG") for i in range(30)]
    kind = pyarrow.struct({"path": pyarrow.string(), "bytes": pyarrow.binary()})

    def write(name, **columns):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / name)

    write(
        "nested.parquet",
        mask=pyarrow.array([{"path": "", "bytes": b"x"}] * 3, kind),
        sample=pyarrow.array([{"image": {"path": f"{i}", "bytes": data[i]}, "caption": [f"first {i}", "second"]} for i in range(3)]),
    )
    write("listed.parquet", images=pyarrow.array([[{"path": "", "bytes": data[3]}], []], pyarrow.list_(kind)), text=["listed", "none"])
    write("validation/0000.parquet", image=pyarrow.array(data[5:8]))
    write("test-of-me/train-1.parquet", image=pyarrow.array(data[8:30]), text=pyarrow.array(["=1+1", *map(str, range(21))]))
    made = create_dataset(workspace, "odd tables", [tmp_path])
    captions = {made.caption(row): row for row in made.rows}
    assert {"first 0", "first 1", "first 2", "listed", "=1+1", "20"} <= set(captions) and len(made.rows) == 3 + 1 + 3 + 22
    assert "the first of its 2 captions was taken" in captions["first 1"].note
    assert [each.reason for each in made.skipped if "its mask" not in each.file] == ["holds no picture"]
    assert len([each for each in made.skipped if each.file.endswith(", its mask") and "holds text" in each.reason]) == 3
    assert len([row for row in made.rows if row.split == "held_out" and made.caption(row) == ""]) == 3
    rows = parquet._Rows(tmp_path / "test-of-me" / "train-1.parquet", ("image",))
    for row in (0, 21, 5, 6, 20, 0):
        assert rows.at(row)["image"] == data[8 + row], "in any order"
    with pytest.raises(Unreadable, match="is damaged in this row"):
        rows.at(22)


def test_other_kinds_of_columns_are_read_and_what_a_row_says_besides(workspace, tmp_path):
    data = [encode(photo(i), "PNG") for i in range(6)]
    tables = {
        "words.parquet": {"image": pyarrow.array(data[:2]), "text": pyarrow.array(["a", "b"]).dictionary_encode()},
        "views.parquet": {
            "image": pyarrow.array(data[2:3], pyarrow.binary_view()), "caption_0": pyarrow.array(["c"], pyarrow.string_view()),
        },
        "struct.parquet": {
            "image": pyarrow.array(data[3:5]), "caption": [{"long": "d"}, {"long": "e"}], "text_id": [7, 8], "modality": ["CT", "MR"],
            "split": ["train", "test"], "repeats": [3, 1],
        },
    }  # fmt: skip
    for name, columns in tables.items():
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / name)
    pyarrow.parquet.write_table(pyarrow.table({"file_name": ["a.png"], "text": ["f"]}), tmp_path / "metadata.parquet")
    made = create_dataset(workspace, "columns", [tmp_path])
    rows = {made.caption(row): row for row in made.rows}
    assert set(rows) == set("abcde") and rows["e"].split == "held_out" and rows["d"].repeats == 3
    assert rows["d"].columns == {"text_id": "7", "modality": "CT"} and "3 times in training, as its table says" in rows["d"].note
    assert [each.reason for each in made.skipped] == [
        "is a Parquet table without a column of pictures: it names pictures; save it as metadata.csv beside them"
    ]


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_captions_repeats_split_groups_and_masks_come_back(kind, workspace, dataset, tmp_path):
    rows = [row.model_copy(update={"repeats": 1 + i % 3, "group": f"g{i // 2}"}) for i, row in enumerate(dataset.rows)]
    for row in rows[:3]:
        mask = Image.new("L", (row.width, row.height), 0)
        mask.paste(255, (0, 0, row.width // 2, row.height))
        mask.save(dataset.mask_path(row))
    out = export_dataset(dataset.model_copy(update={"rows": rows}), tmp_path / "out", kind)
    again = create_dataset(workspace, "again", [out])
    there = {row.pixels: row for row in again.rows}
    assert len(there) == len(rows) and again.skipped == []
    for i, before in enumerate(rows):
        row = there[before.pixels]
        assert (row.repeats, row.group, row.split) == (before.repeats, before.group, before.split)
        assert again.caption(row) == dataset.caption(before) and again.mask_path(row).exists() == (i < 3)
        if i < 3:
            one, other = (np.asarray(Image.open(path)) for path in (dataset.mask_path(before), again.mask_path(row)))
            assert np.array_equal(one, other)


def test_a_dataset_comes_back_from_kohyas_folders_with_its_repeats(workspace, dataset, tmp_path):
    rows = [row.model_copy(update={"repeats": 3 if i < 4 else 1}) for i, row in enumerate(dataset.rows)]
    changed = dataset.model_copy(update={"rows": rows, "about": {"trigger": "zwx", "class_noun": "photo"}})
    out = export_dataset(changed, tmp_path / "out", "kohya")
    assert {path.name for path in out.iterdir()} == {"1_zwx photo", "3_zwx photo"} and len(list((out / "3_zwx photo").iterdir())) == 8
    again = create_dataset(workspace, "again", [out])
    assert sorted((row.pixels, row.repeats) for row in again.rows) == sorted((row.pixels, row.repeats) for row in rows)
    assert again.about == changed.about and b"3_zwx photo/" in b"".join(stream_zip(changed, "kohya"))


def test_facts_leave_only_where_asked_and_templates_can_use_them(workspace, tmp_path):
    made = create_dataset(workspace, "ct", [series(tmp_path / "ct", 4)])
    for kind in ("txt", "jsonl", "kohya"):
        out = export_dataset(made, tmp_path / kind, kind)
        assert not any(b'"body_part"' in path.read_bytes() for path in out.rglob("*") if path.is_file())
    line = json.loads((export_dataset(made, tmp_path / "facts", "jsonl", facts=True) / "metadata.jsonl").read_text("utf-8").splitlines()[0])
    assert line["body_part"] == "head" and line["slice"] == 2
    table = export_dataset(made, tmp_path / "table", "parquet", facts=True) / "data" / "train-00000-of-00001.parquet"
    assert pyarrow.parquet.read_table(table).column("modality").to_pylist() == ["CT", "CT"]
    for row in made.rows:
        made.set_caption(row, "")
    template = Wording(operation="template", text="{modality}[ of the {body_part}], {plane}")
    assert apply(workspace, "ct", template)["count"] == 2 and made.caption(made.rows[0]) == "CT of the head, axial"
    with pytest.raises(StudioError, match=r"\{patient\} is not known: use .*\{body_part\}, \{modality\}"):
        apply(workspace, "ct", Wording(operation="template", text="{patient}"))


def test_a_csv_table_gives_captions_and_formulas_are_named(workspace, tmp_path):
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(encode(photo(i), "PNG"))
    lines = [
        "file_name,text,split",
        '0.png,"a ""quoted"", long caption",train',
        '1.png,=HYPERLINK("http://x"),',
        "2.png,-5 degrees,validation",
    ]
    (tmp_path / "metadata.csv").write_text("\n".join([*lines, "3.png,@SUM(A1)", "9.png,not there", ""]), encoding="utf-8")
    made = create_dataset(workspace, "table", [tmp_path])
    assert {row.source: made.caption(row) for row in made.rows} == {
        "0.png": 'a "quoted", long caption', "1.png": "", "2.png": "-5 degrees", "3.png": ""
    }  # fmt: skip
    assert {row.source: row.split for row in made.rows}["2.png"] == "held_out"
    assert [each.reason for each in made.skipped] == [
        "line 3 holds a formula in 'text', which was left out",
        "line 5 holds a formula in 'text', which was left out",
        "names 9.png, which is not there",
    ]
