"""Taggers in ONNX: layouts of networks, categories, brackets, odd tables, and what is no tagger."""

import csv
import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from studio.dataset.captioners import tagger
from studio.dataset.captioners.base import Ask
from studio.errors import StudioError
from tests.fixtures.tiny_captioners import TAG_TABLE

ALL = Ask(threshold=0, character_threshold=0)
RED, BLUE = Image.new("RGB", (20, 20), "red"), Image.new("RGB", (30, 10), "blue")
SIDE = 16


def network(folder, shape, kind="float", ends="Sigmoid", outputs=1, table=TAG_TABLE):
    """A tagger whose tags say how blue, green and red the picture is, in that order, three times over."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder.mkdir(parents=True, exist_ok=True)
    first = shape[1] == 3
    real, level = (TensorProto.FLOAT16, np.float16) if kind == "half" else (TensorProto.FLOAT, np.float32)
    weights = np.zeros((3, len(table)), level)
    for i in range(len(table)):
        weights[i % 3, i] = 0.02
    axes = numpy_helper.from_array(np.array([2, 3] if first else [1, 2], np.int64), "axes")
    nodes = [
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
        helper.make_node(ends, ["logits"], ["tags"]),
    ]
    told = [helper.make_tensor_value_info("tags", real, ["batch", len(table)])]
    if outputs == 2:
        told.insert(0, helper.make_tensor_value_info("mean", real, ["batch", 3]))
    given = [helper.make_tensor_value_info("pixels", real, shape)]
    graph = helper.make_graph(nodes, "tagger", given, told, [axes, numpy_helper.from_array(weights, "weights")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), folder / "model.onnx")
    with open(folder / "selected_tags.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["tag_id", "name", "category", "count"], *([i, *row, 1] for i, row in enumerate(table))])
    return folder


def best(said):
    return said.caption.split(", ")[0]


LAYOUTS = {
    "colours last": (["batch", SIDE, SIDE, 3], "float", "Sigmoid", 1),
    "one at a time": ([1, SIDE, SIDE, 3], "float", "Sigmoid", 1),
    "two at a time": ([2, SIDE, SIDE, 3], "float", "Sigmoid", 1),
    "size not said": (["b", "h", "w", 3], "float", "Sigmoid", 1),
    "colours first": (["batch", 3, SIDE, SIDE], "float", "Sigmoid", 1),
    "half precision": (["batch", SIDE, SIDE, 3], "half", "Sigmoid", 1),
    "logits": (["batch", SIDE, SIDE, 3], "float", "Identity", 1),
    "another output first": (["batch", SIDE, SIDE, 3], "float", "Sigmoid", 2),
}


@pytest.mark.parametrize("what", LAYOUTS)
def test_networks_of_every_layout_say_the_same(tmp_path, what):
    table = [("blue", "0"), ("green", "0"), ("red", "0")]
    loaded = tagger.load(network(tmp_path, *LAYOUTS[what], table=table))
    assert [best(each) for each in loaded.caption([RED, BLUE, RED], Ask(threshold=0.3))] == ["red", "blue", "red"]
    assert loaded.caption([], ALL) == []


def test_colours_first_are_scaled_as_the_config_says(tmp_path):
    network(tmp_path, ["batch", 3, SIDE, SIDE])
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.5, 0.25]}}))
    px = tagger.load(tmp_path).layout.pixels(RED)
    assert px.shape == (3, SIDE, SIDE) and np.allclose(px[:, 0, 0], [-0.3 / 0.25, -0.4 / 0.5, 1.0], atol=1e-5)
    for odd in ({}, {"pretrained_cfg": {"mean": "x", "std": [0, 0, 0]}}, {"pretrained_cfg": [1]}):
        (tmp_path / "config.json").write_text(json.dumps(odd))
        assert tagger.load(tmp_path).layout.pixels(RED)[2, 0, 0] == 255


def test_ratings_brackets_and_thresholds_by_category(captioner_folders):
    loaded = tagger.load(captioner_folders["tagger"])
    plain = loaded.caption([RED], ALL)[0].caption
    assert "some one (series)" in plain and "general" not in plain and "explicit" not in plain
    rated = loaded.caption([RED], Ask(threshold=0, character_threshold=0, rating=True))[0].caption.split(", ")
    assert rated[:-1] == plain.split(", ") and rated[-1] in ("general", "explicit")
    assert loaded.caption([RED], Ask(threshold=1, character_threshold=1, rating=True))[0].caption == rated[-1]
    escaped = loaded.caption([RED], Ask(threshold=0, character_threshold=0, escape=True))[0].caption
    assert r"some one \(series\)" in escaped and r"blue \(thing\)" in escaped and r'=HYPERLINK\("x"\)' in escaped and "o_o" in escaped
    assert "some one (series)" not in loaded.caption([RED], Ask(threshold=0, character_threshold=1))[0].caption
    assert "some one (series)" == loaded.caption([RED], Ask(threshold=1, character_threshold=0))[0].caption


def test_odd_tables_of_tags(tmp_path):
    table = [("a,b", "0"), ("a_b", "0"), ("  ", "0"), ("line\nbreak", "0"), ("rot\u202eated", ""), ("ähre", "5"), ("x" * 30, "4")]
    loaded = tagger.load(network(tmp_path, ["batch", SIDE, SIDE, 3], table=table))
    assert sorted(loaded.caption([RED], ALL)[0].caption.split(", ")) == sorted(["a b", "line break", "rotated", "ähre", "x" * 30])
    file = tmp_path / "selected_tags.csv"
    text = file.read_text("utf-8")
    file.write_text("\ufeff" + text.replace("\n", "\r\n"), "utf-8")
    assert len(tagger.read_tags(file)[0]) == len(table)
    for odd, hint in (
        ("", "needs the columns|names no tag"),
        ("tag_id,name,category\n", "names no tag"),
        ("name;category\na;0\n", "columns name and category"),
        ("name,category\na\n", "columns name and category"),
        ("name,category\n\0,0\n", "."),
    ):
        file.write_text(odd, "utf-8")
        with pytest.raises(StudioError, match=hint) as caught:
            tagger.load(tmp_path)
        assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
    file.write_bytes(b"name,category\n\xff\xfe,0\n")
    with pytest.raises(StudioError, match="cannot be read"):
        tagger.load(tmp_path)


def test_networks_of_another_kind_are_a_line(tmp_path, captioner_folders):
    import onnx
    from onnx import TensorProto, helper

    folder = shutil.copytree(captioner_folders["tagger"], tmp_path / "other")
    for shape, kind, hint in (
        (["batch", 77], TensorProto.INT64, "no tagger: it takes"),
        (["batch", SIDE, SIDE, 3], TensorProto.UINT8, "no tagger: it takes"),
        (["batch", SIDE, SIDE, 4], TensorProto.FLOAT, "no tagger: it takes"),
        (["batch", SIDE, SIDE, 3], TensorProto.FLOAT, "model.onnx knows 0 tags, selected_tags.csv names 8"),
    ):
        given = helper.make_tensor_value_info("pixels", kind, shape)
        told = helper.make_tensor_value_info("same", kind, shape)
        graph = helper.make_graph([helper.make_node("Identity", ["pixels"], ["same"])], "other", [given], [told])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), folder / "model.onnx")
        with pytest.raises(StudioError, match=hint):
            tagger.load(folder)


def test_without_its_packages_the_line_says_what_to_run(captioner_folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(StudioError, match="python launch.py install tagger"):
        tagger.load(captioner_folders["tagger"])
