"""Base models on this machine: which there are, whether they can be used and fit, and the places a person has added."""

import json
import os
import shutil
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from studio import registry
from studio.errors import StudioError
from studio.families import sd
from studio.families.search import MAX_ENTRIES, look_through
from studio.jobs.models.listing import detail_models, list_models, read_card, training_plan
from studio.models.bases import EMBEDDED_BASES, STARTER, find_base
from studio.models.facts import Memory, memory, num_parameters, say_fit
from studio.models.places import add_model_place, model_places, remove_model_place
from studio.store import Workspace, write_json
from tests.fixtures.kept_runs import write_safetensors
from tests.fixtures.shelf import SHELF, mixed_shelf
from tests.fixtures.shelf import sparse_safetensors as write_dtype
from tests.fixtures.tiny import tiny_sd
from tests.fixtures.tiny_flow import MODELS as FLOW
from tests.fixtures.tiny_flow import tiny as tiny_flow

UNET = "model.diffusion_model."
CHECKPOINT = {
    f"{UNET}input_blocks.0.0.weight": [8, 4, 3, 3],
    "cond_stage_model.transformer.text_model.x": [4, 4],
    "first_stage_model.x": [4, 4],
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_sd(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture()
def workspace(tmp_path):
    return Workspace.at(tmp_path / "workspace")


@pytest.fixture()
def shelf(tmp_path, tiny):
    """A folder as people have them: models, adapters and other things."""
    shelf = tmp_path / "shelf"
    shutil.copytree(tiny, shelf / "small one")
    write_safetensors(
        shelf / "checkpoints" / "sd15" / "dream.safetensors", CHECKPOINT, {"modelspec.license": "MIT", "modelspec.title": "Dream"}
    )
    write_safetensors(shelf / "loras" / "style.safetensors", {"lora_unet_x.lora_down.weight": [4, 8]})
    (shelf / "old.ckpt").write_bytes(b"\x80\x02")
    (shelf / "cut.safetensors").write_bytes(b"\xff" * 20)
    (shelf / "notes.txt").write_text("x")
    hub = shelf / "models--some--body" / "snapshots" / "abc123"
    shutil.copytree(tiny, hub)
    return shelf


def test_whole_models_of_the_hubs_cache_are_listed_and_found_by_their_ids(workspace, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert {row["model"] for row in list_models(workspace)} == set(EMBEDDED_BASES)
    snapshots = {name: tmp_path / "hub" / f"models--{name}" / "snapshots" / "abc" for name in ("some--body", "some--words")}
    shutil.copytree(tiny, snapshots["some--body"])
    shutil.copytree(tiny / "text_encoder", snapshots["some--words"])  # no base model: it would only be in the way
    rows = {row["model"]: row for row in list_models(workspace)}
    assert set(rows) == {*EMBEDDED_BASES, "some/body"} and rows["some/body"]["usable"]
    assert find_base("some/body", workspace).path == snapshots["some--body"]
    shown = {row["source"]: row for row in detail_models(workspace)["models"]}
    assert shown["some/body"]["place"] == "hub cache" and detail_models(workspace)["places"] == []


def _rows(workspace):
    return {row["model"]: row for row in detail_models(workspace)["models"]}


def test_the_embedded_model_is_always_there(workspace):
    row = _rows(workspace)["starter"]
    assert row["usable"] and row["source"] == "starter" and row["card"] and row["fits"] and "Apache-2.0" in row["licence"]
    assert "needs about" in row["fit"] and "GiB" in row["fit"]
    assert "# The embedded base model" in read_card(workspace, row["id"])
    assert list_models(workspace)[0].keys() == {
        "model", "path", "family", "kind", "what", "size_mib", "licence", "usable", "reason", "needs_gib", "fits", "fit", "do",
    }  # fmt: skip


def test_added_folders_and_files_are_listed_with_what_they_are(workspace, shelf):
    add_model_place(workspace, f'  "{shelf}" ')
    rows = _rows(workspace)
    assert set(rows) == {*EMBEDDED_BASES, "small one", "dream.safetensors", "style.safetensors", "old.ckpt", "cut.safetensors", "some/body"}
    assert {name for name, row in rows.items() if row["usable"]} == {*EMBEDDED_BASES, "small one", "dream.safetensors", "some/body"}
    dream = rows["dream.safetensors"]
    assert (dream["licence"], dream["title"], dream["source"], dream["place"]) == ("MIT", "Dream", "dream.safetensors", str(shelf))
    reasons = {name: row["reason"] for name, row in rows.items() if not row["usable"]}
    assert "adapter (LoRA)" in reasons["style.safetensors"]
    assert "can run code" in reasons["old.ckpt"]
    assert "not a whole .safetensors" in reasons["cut.safetensors"]
    assert not any("\n" in r or r.startswith("--") for r in reasons.values())
    assert [p["models"] for p in detail_models(workspace)["places"]] == [6]


def test_a_place_may_be_a_model_or_a_file(workspace, shelf, tiny):
    add_model_place(workspace, str(tiny))
    add_model_place(workspace, str(shelf / "checkpoints" / "sd15" / "dream.safetensors"))
    assert set(_rows(workspace)) == {*EMBEDDED_BASES, "tiny", "dream.safetensors"}


def test_added_models_are_found_by_name_and_by_path(workspace, shelf):
    with pytest.raises(StudioError, match="nothing there"):
        find_base("small one", workspace)
    add_model_place(workspace, str(shelf))
    for name in ("small one", str(shelf / "small one")):
        assert find_base(name, workspace).path == shelf / "small one"
    assert find_base("dream.safetensors", workspace).family == find_base("some/body", workspace).family
    shutil.copytree(shelf / "small one", shelf / "other" / "small one")
    with pytest.raises(StudioError, match="several"):
        find_base("small one", workspace)
    names = {row["model"] for row in list_models(workspace) if row["usable"]}
    assert {str(shelf / "small one"), str(shelf / "other" / "small one")} < names and "small one" not in names
    assert all(find_base(name, workspace).family for name in names)  # each is found by the name it is listed under
    assert find_base("starter", workspace).path == STARTER


def test_a_forgotten_place_is_left_as_it_was(workspace, shelf):
    path = add_model_place(workspace, str(shelf))
    before = sorted(shelf.rglob("*"))
    remove_model_place(workspace, str(path))
    assert set(_rows(workspace)) == set(EMBEDDED_BASES) and sorted(shelf.rglob("*")) == before
    with pytest.raises(StudioError, match="not among"):
        remove_model_place(workspace, str(path))


def test_places_that_cannot_be_are_refused_in_words(workspace, tmp_path):
    (tmp_path / "x.bin").write_bytes(b"x")
    (tmp_path / "x.txt").write_bytes(b"x")
    os.symlink(tmp_path / "loop", tmp_path / "loop")
    for text in ("", "  ", "relative", "../up", "a\0b", "/no/such/place", "x" * 5000, tmp_path / "x.bin", tmp_path / "x.txt", "\ud800",
                 "/" + "n" * 300, tmp_path / "loop", "<img src=x onerror=alert(1)>"):  # fmt: skip
        with pytest.raises((StudioError, OSError)) as refused:
            add_model_place(workspace, str(text))
        assert "\n" not in str(refused.value)
    assert model_places(workspace) == []
    add_model_place(workspace, str(tmp_path))
    with pytest.raises(StudioError, match="already"):
        add_model_place(workspace, f"{tmp_path}/./")


def test_places_that_have_gone_are_said(workspace, shelf):
    add_model_place(workspace, str(shelf))
    shutil.rmtree(shelf)
    assert set(_rows(workspace)) == set(EMBEDDED_BASES)
    (place,) = detail_models(workspace)["places"]
    assert place["models"] == 0 and "gone" in place["note"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"places": 3}', b'{"places": [3, null, "", "a\\u0000b"]}', b"\xff"])
def test_a_damaged_list_of_places_is_an_empty_one(workspace, content):
    (workspace.root / "models.json").write_bytes(content)
    assert model_places(workspace) == [] and set(_rows(workspace)) == set(EMBEDDED_BASES)


def test_two_who_add_at_once_both_succeed(workspace, tmp_path):
    folders = [tmp_path / f"place {i}" for i in range(8)]
    for folder in folders:
        folder.mkdir()
    threads = [threading.Thread(target=add_model_place, args=(workspace, str(folder))) for folder in folders]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(model_places(workspace)) == folders


def test_looking_through_ends(workspace, tmp_path):
    many, deep = tmp_path / "many", tmp_path / "deep"
    many.mkdir()
    for i in range(MAX_ENTRIES + 5):
        (many / f"{i:04d}.safetensors").write_bytes(b"")
    (deep / "1" / "2" / "3" / "4" / "5").mkdir(parents=True)
    (deep / "1" / "2" / "3" / "4" / "5" / "too deep.safetensors").write_bytes(b"")
    os.symlink(deep, deep / "1" / "back")
    for place in (many, deep):
        add_model_place(workspace, str(place))
    found, places = look_through(model_places(workspace))
    assert [p["models"] for p in places] == [MAX_ENTRIES, 0] and len(found) == MAX_ENTRIES
    assert "first" in places[0]["note"] and "no models" in places[1]["note"]


HEADERS = {
    "empty": b"",
    "short": b"\x01",
    "huge length": struct.pack("<Q", 2**63) + b"{}",
    "long length": struct.pack("<Q", 10**9) + b"{}",
    "not text": struct.pack("<Q", 4) + b"\xff\xfe\x00\x01",
    "deep": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "a list": struct.pack("<Q", 2) + b"[]",
    "negative": struct.pack("<Q", 64) + b'{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}'.ljust(64),
    "outside": struct.pack("<Q", 72) + b'{"x":{"dtype":"F32","shape":[9],"data_offsets":[0,99999999999]}}'.ljust(72),
    "overflow": struct.pack("<Q", 96) + b'{"x":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}}'.ljust(96),
    "odd metadata": struct.pack("<Q", 32) + b'{"__metadata__":{"a":[1,2]}}'.ljust(32),
    "html": struct.pack("<Q", 40) + b'{"__metadata__":{"<img src=x>":"${x}"}}'.ljust(40),
}


@pytest.mark.parametrize("what", HEADERS)
def test_hostile_headers_get_one_line(workspace, what):
    workspace.models.mkdir()
    (workspace.models / "odd.safetensors").write_bytes(HEADERS[what])
    row = _rows(workspace)["odd.safetensors"]
    assert not row["usable"] and row["reason"] and "\n" not in row["reason"] and row["source"] == "odd.safetensors"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"[" * 50_000, b'{"_class_name": 5}', b'{"_class_name": "X", "unet": ["a", "b"]}', b"\xff"]
)
def test_hostile_folders_get_one_line(workspace, content):
    folder = workspace.models / "odd"
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_bytes(content)
    row = _rows(workspace)["odd"]
    assert not row["usable"] and row["reason"] and "\n" not in row["reason"]
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline", "../../x": ["a", "b"], "unet": ["a", "b"]}')
    assert "unet (b) is missing" in _rows(workspace)["odd"]["reason"]


def test_what_a_model_needs_is_counted_from_its_files(workspace, tmp_path, tiny):
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(tiny, safety_checker=None)
    counted = sum(p.numel() for part in (pipe.unet, pipe.vae, pipe.text_encoder) for p in part.parameters())
    assert num_parameters(tiny) == counted
    both = shutil.copytree(tiny, tmp_path / "both")
    for file in list(both.rglob("*.safetensors")):
        shutil.copy(file, file.with_name(f"{file.stem}.fp16.safetensors"))
    assert num_parameters(both) == counted  # of two variants one is loaded
    gpu, larger = Memory(80, 80, "Test GPU", 2), Memory(80, 80, "Test GPU", 4)
    assert training_plan(tiny, sd.card, larger).peak_gib > training_plan(tiny, sd.card, gpu).peak_gib > 0.4
    large = tmp_path / "large.safetensors"
    header = json.dumps({"x": {"dtype": "F16", "shape": [1_070_000_000], "data_offsets": [0, 2_140_000_000]}}).encode()
    with open(large, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 2_140_000_000)  # a hole: nothing is stored
    assert (
        3 < training_plan(large, sd.card, gpu).peak_gib < 4
    )  # counted for Stable Diffusion 1.5 at 512 px: 3.1 GiB and what allocators round up


def test_whether_it_fits_is_said_in_figures(workspace):
    write_json(workspace.cache / "machine.json", {"device": "cuda", "name": "Test GPU", "memory_gib": 8, "free_gib": 6.5})
    here = memory(workspace)
    assert (here.free_gib, here.total_gib, here.bytes_per_number) == (6.5, 8, 2)
    assert say_fit(5.24, here) == (True, "needs about 5.2 GiB with one picture at a time, 6.5 of 8.0 GiB are free on Test GPU")
    assert say_fit(7.0, here)[0] is None and "close other programs" in say_fit(7.0, here)[1]
    assert say_fit(9.0, here)[0] is False and say_fit(None, here)[0] is None
    for odd in (3, [], {"device": "cuda", "memory_gib": "lots"}, {"device": "cpu"}):
        write_json(workspace.cache / "machine.json", odd)
        assert memory(workspace).where == "this machine"


def test_a_card_is_read_only_where_it_is_listed(workspace):
    for wanted in ("", "../x", "0" * 16):
        with pytest.raises(StudioError, match="not listed"):
            read_card(workspace, wanted)


def test_listing_needs_no_torch(tmp_path):
    code = (
        "import sys; from studio.store import Workspace; from studio.jobs.models.listing import detail_models\n"
        "detail_models(Workspace.at(sys.argv[1])); sys.exit(any(m in sys.modules for m in ('torch', 'diffusers', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0


def test_twenty_mixed_files_are_told(workspace, tmp_path):
    from typer.testing import CliRunner

    from studio.cli import app

    shelf = mixed_shelf(tmp_path / "shelf")
    told = CliRunner().invoke(app, ["models", "--in", str(shelf), "--workspace", str(workspace.root), "--json"]).output
    rows = {row["model"]: row for row in json.loads(told.splitlines()[-1])}
    assert len(rows) == len(SHELF) + 2 == 20
    for name, (_, _, kind, words) in SHELF.items():
        row = rows[name]
        assert row["kind"] == kind and words in row["what"] and row["do"], row
        assert row["usable"] or (row["reason"] and "\n" not in row["reason"]), row
        assert (row["needs_gib"] is not None) == row["usable"]
    assert rows["sd15.safetensors"]["usable"] and rows["sd15.safetensors"]["licence"] == "MIT"
    assert "not a whole .safetensors" in rows["cut.safetensors"]["reason"]
    assert "GGUF" in rows["flux1-dev-Q4_K_S.gguf"]["reason"] and "drop it on Compare" in rows["style-kohya.safetensors"]["do"]
    assert {r["model"] for r in rows.values() if r["usable"]} >= {"sd15.safetensors"}
    assert "use its plain version" in rows["sd15-inpainting.safetensors"]["reason"]
    assert not any("embedding" in r["reason"] for r in rows.values() if r["reason"] and r["kind"] == "checkpoint")


WEIGHTS = Path("unet") / "diffusion_pytorch_model.safetensors"
SHARD = "diffusion_pytorch_model-0000{}-of-00002.safetensors"
BROKEN = {  # what is done to a whole model folder -> what is said, naming the file
    "no text encoder": (lambda f: shutil.rmtree(f / "text_encoder"), "text_encoder (CLIPTextModel) is missing"),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), "tokenizer"),
    "a cut weight file": (lambda f: _cut(f / WEIGHTS), "diffusion_pytorch_model.safetensors: not a whole"),
    "a missing shard": (
        lambda f: (f / WEIGHTS).rename(f / "unet" / SHARD.format(1)),
        f"1 of 2 shards are missing, first {SHARD.format(2)}",
    ),
    "another VAE": (lambda f: _set(f / "vae" / "config.json", latent_channels=16), "its VAE has 16 latent channels, its unet reads 4"),
    "inpainting": (lambda f: _set(f / "unet" / "config.json", in_channels=9), "inpainting"),
    "integers": (
        lambda f: write_dtype(f / WEIGHTS, {"conv_in.weight": [8, 4, 3, 3]}, "I8"),
        "stored as I8, not as F32, BF16 or F16",
    ),
    "code": (lambda f: _set(f / "unet" / "config.json", auto_map={"AutoModel": "x.Y"}), "asks for code"),
    "a list as class": (lambda f: _set(f / "unet" / "config.json", _class_name=["x", "Y"]), "custom class"),
}  # fmt: skip


def _cut(file):
    file.write_bytes(file.read_bytes()[:-7])


def _set(file, **values):
    write_json(file, json.loads(file.read_text()) | values)


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_folder_is_told_before_anything_is_loaded(workspace, tiny, what):
    breaks, words = BROKEN[what]
    folder = workspace.models / "broken"
    shutil.copytree(tiny, folder)
    assert _rows(workspace)["broken"]["usable"]
    breaks(folder)
    row = _rows(workspace)["broken"]
    assert not row["usable"] and words in row["reason"] and row["do"] and "\n" not in row["reason"], row


@pytest.mark.parametrize("name", FLOW)
def test_a_flow_model_is_told_by_its_configurations_as_it_is_when_loaded(name, tmp_path):
    """Size, grid and noise levels, which screens show without loading anything."""
    import torch

    from studio.families import flow
    from studio.families.timesteps import AUTO

    base = find_base(str(tiny_flow(FLOW[name].build, tmp_path / "model")))
    parts = registry.family(base.family).load(base.path, torch.float32, torch.device("cpu"))
    assert base.shape_px == (parts.facts.size_px, parts.facts.pixel_multiple)
    side = parts.facts.size_px // parts.facts.vae_scale
    told = base.noise_levels(None, AUTO)
    assert told["kind"] == "logit-normal" and told["shift"] == pytest.approx(flow.noise_shift(parts, (1, 1, side, side)), abs=1e-3)
