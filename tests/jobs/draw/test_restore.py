"""What a dropped picture or adapter says, read without decoding a pixel or loading a tensor."""

import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from studio.errors import StudioError
from studio.jobs.draw.drawings import create_drawing, parse_request, picture_settings
from studio.jobs.draw.restore import PNG, kind_of, read_png_settings, restore_from_adapter, restore_from_png
from studio.jobs.runs.identity import base_identity
from studio.models.bases import STARTER
from studio.sample.pictures import write_png
from studio.store import Workspace, sha256_file, write_json
from tests.jobs.conftest import a_run


@pytest.fixture()
def workspace(tmp_path):
    return Workspace.at(tmp_path / "workspace")


def chunk(kind, data, crc=None):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) if crc is None else crc)


def text(value, compressed=False):
    data = json.dumps(value).encode() if not isinstance(value, bytes) else value
    return b"studio\0" + bytes([compressed, 0]) + b"\0\0" + (zlib.compress(data) if compressed else data)


IHDR = chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0))  # a picture nobody should ever decode


def png(path, *chunks):
    path.write_bytes(PNG + IHDR + b"".join(chunks))
    return path


def a_picture(path, settings):
    write_png(path, Image.new("RGB", (8, 8), "teal"), settings)
    return path


def test_a_drawing_comes_back_whole_and_names_no_path(workspace, tmp_path):  # noqa: F811
    a_run(workspace, snapshots=(10,))
    wanted = {"adapters": [{"run": "1", "snapshot": 10, "strength": -0.5}], "prompt": "ümlaut 脳", "negative": "n", "seed": 5, "steps": 3}
    wanted |= {"guidance": 1.5, "sampler": "euler", "width": 32, "height": 48, "count": 2, "strip": "none"}
    drawing = create_drawing(workspace, wanted)
    path = a_picture(tmp_path / "p.png", picture_settings(drawing.request(), drawing.plan()[1], "f" * 64))
    told = restore_from_png(workspace, path)
    assert told["notes"] == [] and told["kind"] == "picture"
    assert parse_request(told["request"]) == drawing.request().model_copy(update={"base": ""})
    assert str(STARTER).encode() not in path.read_bytes()


def test_what_is_missing_here_is_said_and_the_rest_is_restored(workspace, tmp_path):  # noqa: F811
    gone = [{"run": "0009-gone"}, {"file": "0" * 64 + ".safetensors", "label": "theirs"}]
    request = parse_request({"adapters": gone, "prompt": "a cat"})
    path = a_picture(tmp_path / "p.png", {"request": request.model_dump(), "base_sha256": "0" * 64})
    told = restore_from_png(workspace, path)
    assert told["request"]["prompt"] == "a cat" and told["request"]["adapters"] == []
    assert [word in " ".join(told["notes"]) for word in ("0009-gone", "theirs", "base model")] == [True] * 3


def test_a_picture_of_the_command_line(workspace, tmp_path):  # noqa: F811
    run = a_run(workspace, snapshots=(10, 20))
    write_json(run.folder / "scores.json", {"chosen": {"step": 20}})
    sampled = {
        "version": "1",
        "prompt": "a",
        "negative": "",
        "seed": 4,
        "steps": 9,
        "guidance": 2.0,
        "sampler": "ddim",
        "width": 64,
        "height": 64,
    }
    for step, strength, snapshot in ((20, 0.5, None), (10, 0.5, 10), (20, 0.0, None)):
        path = a_picture(tmp_path / "p.png", sampled | {"run": run.id, "step": step, "strength": strength, "base_sha256": "f"})
        use = restore_from_png(workspace, path)["request"]["adapters"][0]
        assert (use["run"], use["snapshot"], use["strength"]) == (run.id, snapshot, strength or 1.0)
    preview = restore_from_png(workspace, a_picture(tmp_path / "p.png", sampled | {"step": 20, "strength": 1.0}))
    assert preview["request"]["adapters"] == [] and preview["request"]["steps"] == 9


@pytest.mark.parametrize(
    "chunks",
    [
        (),
        (chunk(b"tEXt", b"studio\0{}"),),
        (chunk(b"iTXt", b"other\0\0\0\0\0{}"),),
        (chunk(b"iTXt", text({"request": {}}), crc=1),),
        (struct.pack(">I", 2**32 - 1) + b"iTXt",),
        (struct.pack(">I", 500) + b"iTXt" + text({"request": {}}),),
        (chunk(b"IEND", b""), chunk(b"iTXt", text({"request": {}}))),
        (chunk(b"iTXt", text({"request": {}}) + b" " * (1 << 20)),),
        (chunk(b"iTXt", text([1])),),
        (chunk(b"iTXt", text({"software": "another"})),),
        (b"\0" * 120_000,),
    ],
)
def test_pictures_that_do_not_say_how_they_were_made(workspace, tmp_path, chunks):  # noqa: F811
    with pytest.raises(StudioError, match="does not say how it was made"):
        restore_from_png(workspace, png(tmp_path / "p.png", *chunks))


@pytest.mark.parametrize(
    "data",
    [
        text(b"{"),
        b"studio\0\1\0\0\0nonsense",
        b"studio\0",
        text(b"[" * 100_000),
        text(b" " * (2 << 20), compressed=True),
        text(b"\xff\xfe"),
        text({"request": {"steps": "many"}}),
        text({"request": {"adapters": [{"run": "a", "strength": 1e9}]}}),
        text({"prompt": ["x"], "sampler": "ddim"}),
        text({"prompt": "x", "sampler": "ddim", "run": "1", "strength": "much"}),
    ],
)
def test_damaged_settings_are_told_in_one_line(workspace, tmp_path, data):  # noqa: F811
    with pytest.raises(StudioError, match="damaged"):
        restore_from_png(workspace, png(tmp_path / "p.png", chunk(b"iTXt", data)))


def test_compressed_text_is_read_too(tmp_path):
    assert read_png_settings(png(tmp_path / "p.png", chunk(b"iTXt", text({"a": 1}, compressed=True)))) == {"a": 1}


def an_adapter(path, metadata=None, names=("lora_unet_x.lora_down.weight", "lora_unet_x.lora_up.weight")):
    save_file({name: np.zeros((2, 2), np.float32) for name in names}, path, metadata)
    return path


def test_our_adapter_names_its_base_and_is_kept_by_content(workspace, tmp_path):  # noqa: F811
    path = an_adapter(tmp_path / "x.safetensors", {"studio.base_sha256": base_identity(STARTER, workspace), "studio.step": "20"})
    digest = sha256_file(path)
    told = restore_from_adapter(workspace, path, "C:\\mine\\brain <b>.safetensors")
    use = told["request"]["adapters"][0]
    assert told["request"]["base"] == "starter" and told["notes"] == []
    assert use["file"] == f"{digest}.safetensors" and use["label"] == "brain <b>.safetensors"
    assert (workspace.root / "dropped" / use["file"]).is_file() and not path.exists()
    assert create_drawing(workspace, told["request"]).plan()[1].label == use["label"]


def test_a_foreign_adapter_is_accepted_and_an_unknown_base_said(workspace, tmp_path):  # noqa: F811
    told = restore_from_adapter(workspace, an_adapter(tmp_path / "x"), "")
    assert "base" not in told["request"] and "does not say" in told["notes"][0]
    told = restore_from_adapter(workspace, an_adapter(tmp_path / "x", {"studio.base_sha256": "0" * 64}), "a")
    assert "not on this machine" in told["notes"][0]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:-4], "cut off"),
        (lambda data: data[:4], "not a whole"),
        (lambda data: struct.pack("<Q", 2**60) + data[8:], "not a whole"),
        (lambda data: struct.pack("<Q", 30) + b'{"a": {"data_offsets": "wide"}}', "not a whole"),
        (lambda data: struct.pack("<Q", 2) + b"[]", "not a whole"),
        (lambda data: struct.pack("<Q", 2) + b"{}", "holds no adapter"),
    ],
)
def test_damaged_adapters_are_told_and_not_kept(workspace, tmp_path, damage, reason):  # noqa: F811
    path = an_adapter(tmp_path / "x")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StudioError, match=reason):
        restore_from_adapter(workspace, path, "x")
    assert not list((workspace.root / "dropped").glob("*.safetensors"))


def test_a_base_model_is_no_adapter(workspace, tmp_path):  # noqa: F811
    with pytest.raises(StudioError, match="belongs into Models"):
        restore_from_adapter(workspace, an_adapter(tmp_path / "x", names=("unet.conv_in.weight",)), "x")


def test_kinds_are_told_by_their_first_bytes():
    assert kind_of(PNG + b"\0") == "png" and kind_of(struct.pack("<Q", 99) + b"{") == "adapter"
    for other in (b"", b"GIF89a", b"<html>...."):
        with pytest.raises(StudioError, match="neither"):
            kind_of(other)
