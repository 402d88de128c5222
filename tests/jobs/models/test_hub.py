"""Models by their hub id, against a server on this machine that answers as the hub does; the library is the real one."""

import contextlib
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from studio.dataset.captioners.places import find_captioner
from studio.errors import StudioError
from studio.jobs.models import hub as hub_module
from studio.jobs.models.hub import look, plain_id
from studio.jobs.models.hub_files import STATE, Listing
from studio.jobs.models.hub_kinds import choose_model
from studio.models.bases import find_base
from studio.store import Workspace
from tests.fixtures.tiny import tiny_sd
from tests.fixtures.tiny_captioners import blip

TOKEN = "hf_planted_secret_0123456789"


class Hub(http.server.BaseHTTPRequestHandler):
    """A folder of repositories. Names say how each behaves: gated, cut (a connection lost once a file), false (another content), …"""

    root: Path
    asked: list[tuple[str, str, str]] = []  # method, path, range
    told: dict[str, str] = {}  # who was shown which token
    lost: set[str] = set()
    stalls = True
    refusals = {"busy": 429, "broken": 500, "badtoken": 401}

    def _repo(self):
        parts = self.path.split("?")[0].strip("/").split("/")
        parts = parts[2:] if parts[:2] in (["api", "models"], ["store", "of"]) else parts
        return "/".join(parts[:2]), parts[2:]

    def _answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()

    def _reply(self, with_body):
        name, rest = self._repo()
        Hub.asked.append((self.command, self.path, self.headers.get("Range", "")))
        Hub.told[self.headers["Host"].split(":")[0]] = self.headers.get("Authorization", "")
        folder, is_api = self.root / name, self.path.startswith("/api/")
        if status := next((code for word, code in self.refusals.items() if word in name), 0):
            return self._answer(status, {})
        if not folder.is_dir():
            return self._answer(404, {"X-Error-Code": "RepoNotFound"})
        if "gated" in name and not is_api and "store" not in self.path and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(403, {"X-Error-Code": "GatedRepo"})
        if is_api:
            body = json.dumps(self._about(name, folder)).encode()
            self._answer(200, {}, body)
            return self.wfile.write(body)
        file = folder.joinpath(*rest[2:])
        if not file.is_file():
            return self._answer(404, {"X-Error-Code": "EntryNotFound"})
        return self._file(name, file, with_body)

    def _about(self, name, folder):
        siblings = [_sibling(folder, file) for file in sorted(folder.rglob("*")) if file.is_file()]
        gated = "manual" if "gated" in name else False
        licence = ["apache-2.0", "other"] if "gated" in name else "apache-2.0"
        told = {"id": name, "modelId": name, "sha": "a" * 40, "gated": gated, "private": False, "siblings": siblings}
        return told | {"cardData": {"license": licence}, "tags": [], "downloads": 0, "likes": 0}

    def _file(self, name, file, with_body):
        body, about = file.read_bytes(), {"X-Repo-Commit": "a" * 40, "ETag": '"x"', "Accept-Ranges": "bytes"}
        if "gated" in name and "store" not in self.path and file.suffix == ".safetensors":  # large files lie with somebody else
            port = self.server.server_address[1]
            return self._answer(302, about | {"Location": f"http://localhost:{port}/store/of{self.path}", "X-Linked-Size": str(len(body))})
        if "false" in name and file.suffix == ".safetensors":
            body = body[:-1] + bytes([body[-1] ^ 1])
        begin = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        self._answer(206 if begin else 200, about | {"Content-Length": str(len(body) - begin)})
        if with_body:
            keep = len(body)
            if "cut" in name and file.suffix == ".safetensors" and (self.path not in Hub.lost or "dead" in name):
                Hub.lost.add(self.path)
                keep = begin + (len(body) - begin) // 2
            if "slow" in name and file.suffix == ".safetensors" and Hub.stalls:
                self.wfile.write(body[begin : begin + 600])
                self.wfile.flush()
                return time.sleep(60)
            self.wfile.write(body[begin:keep])
            self.close_connection = True
        return None

    def do_GET(self):
        with contextlib.suppress(OSError):
            self._reply(True)

    def do_HEAD(self):
        self._reply(False)

    def log_message(self, *args):
        pass


def _sibling(folder, file):
    """What the hub tells of a file: its size, and its hash as git or as LFS has it."""
    data = file.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    large = (
        {"lfs": {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 1}} if file.suffix == ".safetensors" else {}
    )
    return {"rfilename": file.relative_to(folder).as_posix(), "size": len(data), "blobId": blob} | large


def write_config(folder, name, **values):
    file = folder / name
    file.write_text(json.dumps((json.loads(file.read_text()) if file.exists() else {}) | values))


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    root = tmp_path_factory.mktemp("hub")
    plain = tiny_sd(root / "some" / "tiny-model")
    (plain / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (plain / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"x")
    for name in ("some/gated-model", "some/cut-model", "some/cut-dead", "some/slow-model", "some/false-model"):
        shutil.copytree(plain, root / name)
    (shutil.copytree(plain, root / "evil" / "code") / "unet" / "my.py").write_text("boom")
    write_config(shutil.copytree(plain, root / "evil" / "auto-map") / "unet", "config.json", auto_map={"AutoModel": "x.Y"})
    write_config(shutil.copytree(plain, root / "some" / "other-kind"), "model_index.json", _class_name="MarigoldDepthPipeline")
    (shutil.copytree(plain, root / "some" / "pickles") / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    lora = root / "some" / "lora"
    lora.mkdir()
    (lora / "adapter_config.json").write_text("{}")
    captioner = blip(root / "some" / "blip")
    (captioner / "pytorch_model.bin").write_bytes(b"x")
    write_config(shutil.copytree(captioner, root / "evil" / "captioner"), "config.json", auto_map={"AutoModel": "x.Y"})
    (shutil.copytree(captioner, root / "evil" / "Florence-2-large") / "modeling_florence2.py").write_text("boom")
    write_config(shutil.copytree(captioner, root / "some" / "whisper"), "config.json", architectures=["WhisperForConditionalGeneration"])
    Hub.root = root
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def environment(hub, **more):
    env = {**os.environ, "HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "1", **more}
    return {name: value for name, value in env.items() if name != "HF_TOKEN" or "HF_TOKEN" in more}


def get(hub, root, *words, what="models", **more):
    """The command in a process of its own: (exit code, last line as JSON, all it said)."""
    command = [sys.executable, "-m", "studio.cli", what, "get", *words, "--workspace", str(root), "--json"]
    done = subprocess.run(command, env=environment(hub, **more), capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


MANY = """
import json, sys
from studio.errors import one_line
from studio.jobs.models import hub
hub.online()
from huggingface_hub import constants, file_download
file_download.time.sleep = lambda s: None  # between its tries
constants.DOWNLOAD_CHUNK_SIZE = 200  # so that tiny files come in pieces, as large ones do
for line in sys.stdin:
    root, name, token, kind = json.loads(line)
    told = []
    try:
        done = [str(x) for x in hub.fetch(hub.Workspace.at(root), name, token, lambda *n: told.append(n), kind)]
    except Exception as error:
        done = [one_line(error)]
    print(json.dumps([*done, told]), flush=True)
"""


@pytest.fixture(scope="module")
def fetch(hub):
    """Many fetches by one process, which asks the hub given: (root, id, token, kind) -> [path, words, progress] or [error, progress]."""
    process = subprocess.Popen(
        [sys.executable, "-c", MANY],
        env=environment(hub),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def ask(root, name, token="", kind="model"):
        process.stdin.write(json.dumps([str(root), name, token, kind]) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield ask
    process.stdin.close()
    process.wait(20)
    process.stdout.close()


def test_licence_and_size_are_told_and_nothing_is_fetched(hub, tmp_path):
    Hub.asked.clear()
    code, told, said = get(hub, tmp_path, "some/gated-model")
    assert code == 0 and told["licence"] == "apache-2.0, other" and told["size_bytes"] > 1000 and "licence apache-2.0" in said
    assert "access must be granted" in told["gated"] and "granted" in said
    assert not any(f.endswith(".bin") for f in told["files"]) and "model_index.json" in told["files"]
    assert not (tmp_path / "models").exists() and all("/resolve/" not in path for _, path, _ in Hub.asked)


@pytest.mark.parametrize(
    "pasted",
    [
        "some/tiny-model",
        "  some/tiny-model/ ",
        "https://huggingface.co/some/tiny-model",
        "https://hf.co/some/tiny-model/tree/main/vae?x=1#y",
    ],
)
def test_the_address_of_a_models_page_is_its_id(pasted):
    assert plain_id(pasted) == "some/tiny-model"


@pytest.mark.parametrize(
    "odd", ["https://elsewhere.org/some/tiny-model", "https://huggingface.co/tiny", "some/tiny model", "a/b/c", "../../x", ""]
)
def test_what_is_no_id_stays_none(odd):
    with pytest.raises(StudioError, match="this is no hub id"):
        look(odd)


def test_a_model_is_fetched_whole_and_is_a_base(hub, fetch, tmp_path):
    code, told, _ = get(hub, tmp_path, "some/tiny-model", "--yes")
    assert code == 0, told
    workspace = Workspace.at(tmp_path)
    assert find_base("some--tiny-model", workspace).family == "sd"
    assert [p.name for p in workspace.models.iterdir()] == ["some--tiny-model"] and not list(workspace.models.rglob("*.bin"))
    assert not [f for f in workspace.models.rglob("*") if f.name.endswith((".part", ".lock", STATE))]
    assert "here already" in fetch(tmp_path, "some/tiny-model")[0]


def test_a_gated_model_needs_a_token_that_is_kept_nowhere_and_shown_to_the_hub_alone(fetch, tmp_path):
    assert "it is gated: accept its terms on its page" in fetch(tmp_path, "some/gated-model")[0]
    assert "this is no token" in fetch(tmp_path, "some/gated-model", "hf_ä with blanks\n")[0]
    Hub.told.clear()
    path, *_ = told = fetch(tmp_path, "some/gated-model", TOKEN)
    assert (Path(path) / "unet" / "diffusion_pytorch_model.safetensors").is_file(), told
    assert Hub.told == {"127.0.0.1": f"Bearer {TOKEN}", "localhost": ""} and TOKEN not in json.dumps(told)
    assert not any(TOKEN.encode() in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())


def same_files(folder, origin):
    return all(f.read_bytes() == (origin / f.relative_to(folder)).read_bytes() for f in folder.rglob("*") if f.is_file())


def ranges(name):
    return [r for method, path, r in Hub.asked if method == "GET" and name in path and r]


def test_a_lost_connection_is_taken_up_where_it_was(fetch, tmp_path):
    path, *_ = told = fetch(tmp_path, "some/cut-model")
    assert len(ranges("cut-model")) >= 3, told  # unet, text encoder, VAE: each lost once
    assert same_files(Path(path), Hub.root / "some" / "cut-model")
    done = [d for d, _ in told[-1]]
    assert done == sorted(done) and done[-1] == told[-1][-1][1], "progress goes on, up to the whole"


def test_without_a_network_what_is_there_stays_and_the_next_try_goes_on(fetch, tmp_path, monkeypatch):
    said, _ = fetch(tmp_path, "some/cut-dead")
    assert "the hub cannot be reached" in said and "goes on from there" in said
    parts = list((tmp_path / "models").rglob("*.part"))
    assert len(parts) == 1 and parts[0].stat().st_size > 0
    (parts[0].parent / "older.0123.part").write_bytes(b"of another version")
    os.rename(Hub.root / "some" / "cut-dead", Hub.root / "some" / "cut-dead-now")
    shutil.copytree(Hub.root / "some" / "tiny-model", Hub.root / "some" / "cut-dead")
    write_config(Hub.root / "some" / "cut-dead" / "unet", "config.json", note="a newer version")
    monkeypatch.setattr(Hub, "lost", {p for _, p, _ in Hub.asked})
    monkeypatch.setattr(Hub, "_file", lambda self, name, *a, real=Hub._file: real(self, name.replace("cut-dead", ""), *a))
    Hub.asked.clear()
    path, *_ = fetch(tmp_path, "some/cut-dead")
    assert same_files(Path(path), Hub.root / "some" / "cut-dead") and "newer" in (Path(path) / "unet" / "config.json").read_text()
    gone_on = ranges("cut-dead")
    assert len(gone_on) == 1, "the part is gone on with; what was whole is not asked for again"
    assert not [p for m, p, _ in Hub.asked if m == "GET" and p.endswith("vae/config.json")]


def test_one_that_was_killed_goes_on_and_two_do_not_fetch_at_once(hub, fetch, tmp_path, monkeypatch):
    request = json.dumps([str(tmp_path), "some/slow-model", "", "model"])
    process = subprocess.Popen(
        [sys.executable, "-c", MANY],
        env=environment(hub),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    process.stdin.write(request + "\n")
    process.stdin.flush()
    partial = tmp_path / "models" / ".fetching-some--slow-model"
    until = time.monotonic() + 60
    while not [f for f in partial.rglob("*.part") if ".safetensors" in f.name and f.stat().st_size] and time.monotonic() < until:
        time.sleep(0.1)
    assert "being fetched already" in fetch(tmp_path, "some/slow-model")[0]
    process.kill()
    process.communicate()
    Hub.asked.clear()
    monkeypatch.setattr(Hub, "stalls", False)
    path, *_ = fetch(tmp_path, "some/slow-model")
    assert len(ranges("slow-model")) == 1
    assert same_files(Path(path), Hub.root / "some" / "slow-model") and not partial.exists()


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("evil/code", "model", "unet/my.py is a program"),
        ("evil/auto-map", "model", "unet/config.json asks for code (auto_map)"),
        ("some/other-kind", "model", "MarigoldDepthPipeline is a kind of model that is not known here"),
        ("some/pickles", "model", "unet has no safetensors, only weights that can run code"),
        ("some/lora", "model", "this is an adapter"),
        ("some/blip", "model", "one component, or another kind of network"),
        ("some/nothing", "model", "the hub has no such model"),
        ("some/busy", "model", "answered with 429: too much was asked of it"),
        ("some/broken", "model", "answered with 500: try again later"),
        ("some/badtoken", "model", "the token is not accepted"),
        ("../../etc", "model", "this is no hub id"),
        ("nothing", "model", "this is no hub id"),
        ("some/tiny-model", "captioner", "this is a model that draws"),
        ("evil/captioner", "captioner", "config.json asks for code (auto_map)"),
        ("evil/Florence-2-large", "captioner", "use another copy, as florence-community/Florence-2-base"),
        ("some/whisper", "captioner", "WhisperForConditionalGeneration is no captioner"),
        ("some/lora", "captioner", "neither .safetensors nor a tagger's model.onnx"),
    ],
)
def test_what_is_not_fetched_says_why_before_any_weights(fetch, tmp_path, name, kind, words):
    Hub.asked.clear()
    said, _ = fetch(tmp_path, name, kind=kind)
    assert words in said and "\n" not in said and name in said, said
    assert not any(".safetensors" in path for _, path, _ in Hub.asked)
    assert not [p for p in tmp_path.rglob("*.safetensors")]


def test_a_file_that_is_not_what_the_hub_says_is_not_kept(fetch, tmp_path):
    said, _ = fetch(tmp_path, "some/false-model")
    assert "came damaged (its hash is not the hub's)" in said and not [p for p in tmp_path.rglob("*.safetensors*")]


def test_a_captioner_is_fetched_by_the_same_code(hub, fetch, tmp_path):
    code, told, said = get(hub, tmp_path, "some/blip", what="captioners")
    assert code == 0 and told["licence"] == "apache-2.0" and "fetch it with: captioners get some/blip --yes" in said
    path, words, _ = told = fetch(tmp_path, "some/blip", kind="captioner")
    assert Path(path) == tmp_path / "captioners" / "some--blip", told
    assert find_captioner(Workspace.at(tmp_path), "some--blip").key == "blip" and not list(Path(path).glob("*.bin"))


def test_a_disk_too_small_and_no_network_are_said_in_a_line(hub, tmp_path, monkeypatch):
    code, told, _ = get("http://127.0.0.1:9", tmp_path, "some/tiny-model")
    assert code == 2 and "the hub cannot be reached" in told["error"]
    listing = Listing("some/model", "?", "", "a" * 40, ["model_index.json"], 1 << 60, {"model_index.json": 1 << 60})
    monkeypatch.setattr("studio.jobs.models.hub.look", lambda *asked: listing)
    with pytest.raises(StudioError, match=r"the disk is full: this model needs .* MiB are free"):
        hub_module.fetch(Workspace.at(tmp_path), "some/model")


def test_one_precision_is_chosen_and_odd_names_are_left():
    sizes = dict.fromkeys(
        ["model_index.json", "unet/config.json", "unet/m.safetensors", "unet/m.fp16.safetensors", "vae/m.safetensors", "x.ckpt",
         "../../out.json", "a/b/c/d.json", "unet/m.msgpack", "README.md", "tokenizer/spiece.model"], 5,
    )  # fmt: skip
    assert choose_model("a/b", sizes) == [
        "README.md", "model_index.json", "tokenizer/spiece.model", "unet/config.json", "unet/m.fp16.safetensors", "vae/m.safetensors",
    ]  # fmt: skip
    for odd, words in (
        ({"unet/x.json": 1}, "no model_index.json"),
        (sizes | {"unet/run.sh": 1}, "is a program"),
        ({"model_index.json": 1, "unet/m.bin": 1}, "unet has no safetensors"),
    ):
        with pytest.raises(StudioError, match=words):
            choose_model("a/b", odd)
