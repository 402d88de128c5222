"""Framing by its routes: what is decided is kept and undone, and the samples that are shown hold the very pixels that training reads."""

import io
import re
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.testclient import TestClient
from PIL import Image

from studio.dataset.framing import describe_frame
from studio.dataset.intake import create_dataset
from studio.dataset.masks import mask_bytes
from studio.dataset.rows import open_dataset
from studio.dataset.views import sample_name
from studio.encode.buckets import MAX_BUCKETS
from studio.encode.build import Encoder, encode_dataset
from studio.encode.cache import Cache
from studio.encode.plan import plan
from studio.families import ddpm
from studio.models.bases import find_base
from studio.store import Workspace
from tests.dataset.corpus import photo
from tests.fixtures.runs import spec_for
from tests.fixtures.tiny import tiny_ddpm
from tests.ui.browser import wait_until
from ui.app import _tell
from ui.desk import Desk
from ui.routes import datasets, framing, imports

SIZES = ((60, 40), (40, 60), (64, 64), (90, 45), (48, 48), (33, 50))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model whose latents are the pixels themselves."""
    return tiny_ddpm(tmp_path_factory.mktemp("base") / "pixels", size_px=32)


@pytest.fixture(scope="module")
def room(tmp_path_factory, base):
    """(client, workspace) with a dataset of pictures of several shapes, in the workspace's models folder the base."""
    workspace = Workspace.at(tmp_path_factory.mktemp("space") / "workspace")
    given = tmp_path_factory.mktemp("given")
    for i, size in enumerate(SIZES):
        photo(i).resize(size).save(given / f"p{i}.png")
    create_dataset(workspace, "shapes", [given])
    (workspace.models).mkdir()
    (workspace.models / "pixels").symlink_to(base)
    desk = Desk(workspace)
    app = FastAPI()
    for kind in (ValueError, OSError, RequestValidationError):
        app.add_exception_handler(kind, _tell)
    for area in (datasets, framing, imports):
        app.include_router(area.router(desk), prefix="/studio")
    with TestClient(app) as client:
        yield client, workspace
    desk.close()


def files(workspace):
    return [row.file for row in open_dataset(workspace, "shapes").rows]


def framed(client, file):
    answer = client.get("/studio/datasets/shapes/framing", params={"file": file, "base": "pixels"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def put(client, file, **edit):
    answer = client.put("/studio/datasets/shapes/framing", json={"file": file, "edit": edit})
    assert answer.status_code == 200, answer.text
    return answer.json()


def pixels_of(client, address):
    answer = client.get(address)
    assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"], answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def encoded(workspace, base, *settings):
    """What training reads of the dataset, by file."""
    data = open_dataset(workspace, "shapes")
    parts = ddpm.load(base, torch.float32, torch.device("cpu"))
    encoder = Encoder(ddpm, parts, "pixels", Cache(workspace.cache / "encoded"))
    found = encode_dataset(data, encoder, spec_for(data, base, *settings, recipe="ddpm-lora"), False, lambda done, total: None)
    return {item.file: [found.latent(key)[0] for key in item.latents] for item in found.items}


def test_what_is_shown_is_what_is_trained_pixel_for_pixel(room, base):
    client, workspace = room
    names = files(workspace)
    put(client, names[0], crop=[0.2, 0.1, 0.9, 0.95], turns=1)
    put(client, names[1], focus=[0.5, 0.1], mirror=True)
    put(client, names[3], crop=[0.0, 0.0, 0.6, 1.0], focus=[0.55, 0.9], turns=3, mirror=True)
    trained, num = encoded(workspace, base), 0
    for file in names:
        shown = framed(client, file)
        samples = [pixels_of(client, sample["src"]) for sample in shown["samples"]]
        assert len(samples) == len(trained[file]) and samples[0].shape[:2] == tuple(shown["bucket"][::-1])
        for seen, read in zip(samples, trained[file], strict=True):
            assert np.array_equal(seen, ((read + 1) * 127.5).round().permute(1, 2, 0).numpy().astype(np.uint8))
            assert torch.equal(torch.from_numpy(seen.copy()).permute(2, 0, 1).float() / 127.5 - 1, read)
            num += 1
    assert num > len(names), "some pictures have further crops"


def test_every_version_is_shown_with_its_name_and_the_kind_of_pictures_decides(room, base):
    client, workspace = room
    ask = partial(client.get, "/studio/datasets/shapes/variants")
    plain = ask(params={"base": "pixels", "crops": 1}).json()
    assert plain["samples"] == plain["pictures"] and plain["rows"][0]["samples"][0]["said"] == "as it is"
    client.put("/studio/datasets/shapes/domain", json={"domain": "satellite"})
    turned = ask(params={"base": "pixels", "crops": 1}).json()
    assert turned["data"]["turns"] and turned["samples"] == 8 * turned["pictures"]
    said = {sample["said"] for sample in turned["rows"][0]["samples"]}
    assert len(said) == 8 and {"as it is", "mirrored", "turned by 90°", "turned by 270°, mirrored"} <= said
    assert Image.open(io.BytesIO(client.get(turned["rows"][0]["samples"][5]["src"]).content)).size
    assert ask(params={"base": "pixels", "crops": 1, "turns": False, "flip": False}).json()["samples"] == plain["samples"], (
        "when asked, not"
    )
    assert "no such kind" in client.put("/studio/datasets/shapes/domain", json={"domain": "x"}).json()["error"]
    told = client.get("/studio/datasets/shapes/buckets", params={"base": "pixels"}).json()
    assert told["domain"] == "satellite" and len(told["domains"]) > 5
    client.put("/studio/datasets/shapes/domain", json={"domain": ""})
    trained = encoded(workspace, base, "data.turns=true", "data.flip=true", "data.crops=1")
    assert all(len(latents) in (1, 4) for latents in trained.values())


def test_an_edit_is_undone_by_its_record_and_named_on_the_card(room):
    client, workspace = room
    file = files(workspace)[4]
    undo = put(client, file, turns=2)["undo"]
    told = client.get("/studio/datasets/shapes/picture", params={"file": file}).json()
    assert "framed" in told["badges"] and told["framed"] == "turned by 180°"
    assert [i["file"] for i in client.get("/studio/datasets/shapes", params={"filter": "framed"}).json()["items"]].count(file) == 1
    assert client.post("/studio/datasets/shapes/undo", json={"undo": undo}).json()["restored"] == 1
    assert framed(client, file)["edit"] == {"crop": None, "focus": None, "turns": 0, "mirror": False}


def test_what_another_window_has_changed_is_not_overwritten(room):
    client, workspace = room
    file = files(workspace)[5]
    address, seen = "/studio/datasets/shapes/framing", framed(client, file)["edit"]
    assert client.put(address, json={"file": file, "edit": {"crop": [0, 0, 0.9, 0.9]}, "before": seen}).status_code == 200
    late = client.put(address, json={"file": file, "edit": {"turns": 1}, "before": seen})
    assert late.status_code == 400 and "framed in another window meanwhile (cropped)" in late.json()["error"]
    now = framed(client, file)["edit"]
    assert now["crop"] == [0, 0, 0.9, 0.9] and client.put(address, json={"file": file, "edit": now, "before": seen}).status_code == 200
    masks, kept = f"/studio/datasets/shapes/mask?file={file}", ["none"]
    for level, before, wanted in ((255, "none", 200), (90, "none", 400), (90, "kept", 200), (90, "none", 200)):
        data = io.BytesIO()
        Image.new("L", SIZES[5], level).save(data, "PNG")
        answer = client.put(f"{masks}&before={kept[-1] if before == 'kept' else before}", content=data.getvalue())
        assert answer.status_code == wanted and (wanted == 200 or "its mask was changed in another window" in answer.json()["error"])
        kept += [answer.json()["mask"]] if wanted == 200 else []
    assert framed(client, file)["mask"] == kept[-1]
    assert client.delete(f"{masks}&before=none").status_code == 400 and client.delete(f"{masks}&before={kept[-1]}").status_code == 200
    client.put(address, json={"file": file, "edit": {}})


def test_several_pictures_are_turned_as_they_are_seen(room):
    client, workspace = room
    chosen = files(workspace)[4:]
    put(client, chosen[0], mirror=True)
    turn = partial(client.post, "/studio/datasets/shapes/turn")
    assert turn(json={"files": chosen, "action": "right"}).json()["count"] == 2
    assert [framed(client, file)["edit"]["turns"] for file in chosen] == [3, 1]
    turn(json={"files": chosen, "action": "left"})
    assert [framed(client, file)["edit"]["turns"] for file in chosen] == [0, 0]
    assert turn(json={"files": chosen, "action": "reset"}).json()["count"] == 1
    assert "removed in another window" in turn(json={"files": ["gone.png"], "action": "left"}).json()["error"]


def test_the_shapes_hold_every_picture_and_show_those_that_lose_most(room):
    client, workspace = room
    told = client.get("/studio/datasets/shapes/buckets", params={"base": "pixels"}).json()
    assert told["size_px"] == 32 and sum(b["images"] for b in told["buckets"]) == len(SIZES) and len(told["buckets"]) <= 5
    for bucket in told["buckets"]:
        cut = [each["cut_percent"] for each in bucket["examples"]]
        assert cut == sorted(cut, reverse=True) and max(cut) == pytest.approx(bucket["most_cut_percent"], abs=0.1)
    answer = client.get(told["buckets"][0]["examples"][0]["src"])
    assert answer.headers["content-type"] == "image/webp" and Image.open(io.BytesIO(answer.content)).size[0] <= 192
    assert {s["base"]: s["size_px"] for s in client.get("/studio/shapes").json()}["pixels"] == 32


def test_wrong_requests_are_refused_in_one_line(room):
    client, workspace = room
    file = files(workspace)[0]
    src = framed(client, file)["samples"][0]["src"]
    for address in (
        src.replace("_", "-"),
        src.replace(".png", ".gif"),
        src.rpartition("_")[0] + "_999.100.100.png",
        f"/studio/samples/{'0' * 64}-1.png",
    ):
        answer = client.get(address)
        assert answer.status_code == 400 and "\n" not in answer.json()["error"], address
    for edit in ({"crop": [0, 0, 0.05, 0.05]}, {"crop": [0.9, 0, 0.1, 1]}, {"turns": 9}, {"shear": 1}):
        answer = client.put("/studio/datasets/shapes/framing", json={"file": file, "edit": edit})
        assert answer.status_code in (400, 422) and "\n" not in answer.json()["error"], edit


def test_a_mask_is_kept_shown_as_trained_and_removed(room, base):
    client, workspace = room
    file, address = files(workspace)[3], "/studio/datasets/shapes/mask"
    put(client, file, crop=[0.0, 0.0, 0.6, 1.0], turns=1)
    mask = Image.new("L", (45, 22), 255)  # a picture of 90 x 45 px, painted at half its size
    mask.paste(0, (0, 0, 20, 22))
    data = io.BytesIO()
    mask.save(data, "PNG")
    told = client.put(address, params={"file": file}, content=data.getvalue()).json()
    assert told["count"] == 1 and framed(client, file)["mask"]
    kept = Image.open(io.BytesIO(client.get(address, params={"file": file}).content))
    assert kept.mode == "L" and kept.size == SIZES[3] and kept.getpixel((2, 2)) == 0 and kept.getpixel((80, 20)) == 255
    data = open_dataset(workspace, "shapes")
    parts = ddpm.load(base, torch.float32, torch.device("cpu"))
    encoder = Encoder(ddpm, parts, "pixels", Cache(workspace.cache / "encoded"))
    spec = spec_for(data, base, "data.mask_floor=0", recipe="ddpm-lora")
    found = encode_dataset(data, encoder, spec, False, lambda done, total: None)
    item = next(item for item in found.items if item.file == file)
    for number, sample in enumerate(framed(client, file)["samples"]):
        shown = np.asarray(Image.open(io.BytesIO(client.get(address, params={"file": file, "frame": sample["frame"]}).content)))
        assert torch.equal(found.weight(item, number)[0], torch.from_numpy(shown.copy()).float() / 255), "a weight for each pixel"
    for content in (b"no picture", b""):
        assert "\n" not in client.put(address, params={"file": file}, content=content).json()["error"]
    removed = client.delete(address, params={"file": file}).json()
    assert framed(client, file)["mask"] is None and "no mask" in client.get(address, params={"file": file}).json()["error"]
    assert client.post("/studio/datasets/shapes/undo", json={"undo": removed["undo"]}).json()["restored"] == 1
    assert framed(client, file)["mask"]


def test_transparency_becomes_masks_when_the_page_asks_and_goes_out_when_asked(room):
    client, workspace = room
    picture = photo(7).resize((64, 48)).convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 32, 48))
    data = io.BytesIO()
    picture.save(data, "PNG")
    made = client.post("/studio/imports", json={"name": "cut out", "alpha_masks": True}).json()
    client.put(f"/studio/imports/{made['id']}/files", params={"name": "a.png"}, content=data.getvalue())
    client.post(f"/studio/imports/{made['id']}/finish")
    told = wait_until(
        lambda: next((t for t in [client.get(f"/studio/imports/{made['id']}").json()] if t["state"] == "finished"), None), "import"
    )
    found = open_dataset(workspace, told["dataset"])
    assert mask_bytes(found, found.rows[0])
    names = {}
    for masks in (True, False):
        answer = client.get(f"/studio/datasets/{told['dataset']}/export.zip", params={"masks": masks})
        names[masks] = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert "mask/0001-a.png" in names[True] and "mask/0001-a.png" not in names[False]


@pytest.fixture(scope="module")
def odd(room, tmp_path_factory):
    """What cameras and programs write: turned by EXIF, transparent, 16-bit, CMYK, wide, tall, small; edits and masks on some."""
    client, workspace = room
    given = tmp_path_factory.mktemp("odd")
    camera = Image.Exif()
    camera[274] = 6
    photo(20).resize((90, 60)).save(given / "camera.jpg", exif=camera, quality=95)
    clear = photo(21).resize((70, 50)).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(given / "clear.png")
    deep = np.add.outer(np.arange(64) * 500, np.arange(96) * 300).astype(np.uint16)
    Image.fromarray(deep).save(given / "deep.png")
    photo(22).resize((64, 64)).convert("CMYK").save(given / "press.jpg", quality=95)
    for i, size in enumerate(((320, 41), (39, 300), (20, 17), (120, 70), (70, 120), (81, 64))):
        photo(30 + i).resize(size).save(given / f"size{i}.png")
    Image.radial_gradient("L").resize((320, 41)).save(given / "size0_mask.png")
    Image.linear_gradient("L").resize((60, 35)).save(given / "size3.mask.png")
    create_dataset(workspace, "odd", [given])
    names = {row.source: row.file for row in open_dataset(workspace, "odd").rows}
    for source, edit in {
        "camera.jpg": {"crop": [0.1, 0.2, 0.8, 0.9], "turns": 3},
        "size0.png": {"focus": [0.9, 0.5], "mirror": True},
        "size3.png": {"crop": [0.0, 0.1, 0.7, 1.0], "focus": [0.6, 0.9], "turns": 1, "mirror": True},
    }.items():
        assert client.put("/studio/datasets/odd/framing", json={"file": names[source], "edit": edit}).status_code == 200
    assert client.put("/studio/datasets/odd/domain", json={"domain": "satellite"}).status_code == 200
    return open_dataset(workspace, "odd")


def test_odd_files_are_trained_as_they_are_shown_in_every_version_with_their_masks(room, base, odd):
    client, workspace = room
    spec = spec_for(odd, base, "data.turns=true", "data.flip=true", "data.colour=0.1", "data.crops=3", recipe="ddpm-lora")
    parts = ddpm.load(base, torch.float32, torch.device("cpu"))
    encoder = Encoder(ddpm, parts, "pixels", Cache(workspace.cache / "odd"))
    found = encode_dataset(odd, encoder, spec, False, lambda done, total: None)
    planned = plan(odd.rows, parts.facts.size_px, parts.facts.pixel_multiple, spec.data)
    assert len({each.bucket for each in planned}) == MAX_BUCKETS and find_base(str(base)).shape_px == (32, parts.facts.pixel_multiple)
    said, num_masks = set(), 0
    for each, item in zip(planned, found.items, strict=True):
        assert item.file == each.row.file and item.bucket == each.bucket and len(item.latents) == len(each.frames)
        for number, (frame, key) in enumerate(zip(each.frames, item.latents, strict=True)):
            seen = pixels_of(client, f"/studio/samples/{sample_name(each.row.pixels, frame)}")
            assert torch.equal(torch.from_numpy(seen.copy()).permute(2, 0, 1).float() / 127.5 - 1, found.latent(key)[0]), (
                each.row.source,
                frame,
            )
            said.add(describe_frame(frame))
            if item.masks:
                shown = client.get("/studio/datasets/odd/mask", params={"file": item.file, "frame": frame.token()})
                weights = np.asarray(Image.open(io.BytesIO(shown.content)))
                assert np.array_equal(weights, found.cache.read(item.masks[number])["mask"][0].numpy())
                num_masks += len(np.unique(weights)) > 20  # soft edges stay soft
    assert num_masks > 20 and {"as it is", "mirrored", "turned by 180°", "turned by 90°, mirrored"} <= said
    assert any("brightness" in words and "turned" in words and "mirrored" in words for words in said)


def test_the_samples_on_the_screens_are_those_that_a_run_of_the_dataset_would_read(room, base, odd):
    client, _ = room
    parts = ddpm.load(base, torch.float32, torch.device("cpu"))
    planned = plan(odd.rows, parts.facts.size_px, parts.facts.pixel_multiple, spec_for(odd, base, recipe="ddpm-lora").data)
    tokens = {}
    for each in planned:
        tokens.setdefault(each.row.file, []).extend(frame.token() for frame in each.frames)
    assert any(each.is_lying for each in planned), "the kind of pictures has them turned"
    for file, own in tokens.items():
        shown = client.get("/studio/datasets/odd/framing", params={"file": file, "base": "pixels"}).json()
        assert {sample["frame"] for sample in shown["samples"]} <= set(own)
        assert tuple(shown["bucket"]) == next(each.bucket for each in planned if each.row.file == file)
    told = client.get("/studio/datasets/odd/variants", params={"base": "pixels"}).json()
    assert told["samples"] == sum(len(each.frames) for each in planned if each.row.split == "train")
    assert "warning" in told
    for row in told["rows"]:
        assert [re.search(r"-([0-9._]+)\.webp", sample["src"])[1] for sample in row["samples"]] == tokens[row["file"]]
    shapes = client.get("/studio/datasets/odd/buckets", params={"base": "pixels"}).json()["buckets"]
    assert sum(shape["images"] for shape in shapes) == len(odd.rows) and any(shape["enlarged"] for shape in shapes)
    assert {(s["width"], s["height"]) for s in shapes} == {each.bucket for each in planned if not each.is_lying}
