"""Models by their hub id, against a server on this machine that answers as the hub does; the library is the real one."""

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from studio.errors import StudioError
from studio.jobs.hub import choose
from studio.models import find_base
from studio.store import Workspace
from tests.fixtures.tiny import tiny_sd

TOKEN = "hf_planted_secret_0123456789"


class Hub(http.server.BaseHTTPRequestHandler):
    """One folder of repositories; "gated" ones ask for the token."""

    root: Path
    asked: list[str] = []

    def _repo(self):
        parts = self.path.split("?")[0].strip("/").split("/")
        parts = parts[2:] if parts[:2] == ["api", "models"] else parts
        return "/".join(parts[:2]), parts[2:]

    def _refuse(self, status, code):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, with_body):
        name, rest = self._repo()
        Hub.asked.append(self.path)
        folder = self.root / name
        if not folder.is_dir():
            return self._refuse(404, "RepoNotFound")
        is_api = self.path.startswith("/api/")
        if "gated" in name and not is_api and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._refuse(403, "GatedRepo")
        if is_api:
            files = [f for f in sorted(folder.rglob("*")) if f.is_file()]
            siblings = [{"rfilename": f.relative_to(folder).as_posix(), "size": f.stat().st_size} for f in files]
            gated = "manual" if "gated" in name else False
            told = {"id": name, "modelId": name, "sha": "a" * 40, "gated": gated, "private": False, "siblings": siblings}
            body = json.dumps(told | {"cardData": {"license": "apache-2.0"}, "tags": [], "downloads": 0, "likes": 0}).encode()
        else:
            file = folder.joinpath(*rest[2:])
            if not file.is_file():
                return self._refuse(404, "EntryNotFound")
            body = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", "a" * 40)
        self.send_header("ETag", f'"{hashlib.sha1(body, usedforsecurity=False).hexdigest()}"')
        self.end_headers()
        if with_body:
            self.wfile.write(body)
        return None

    def do_GET(self):
        self._answer(True)

    def do_HEAD(self):
        self._answer(False)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    root = tmp_path_factory.mktemp("hub")
    plain = tiny_sd(root / "some" / "tiny-model")
    (plain / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (plain / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"x")
    shutil.copytree(plain, root / "some" / "gated-model")
    (shutil.copytree(plain, root / "evil" / "code") / "unet" / "my.py").write_text("boom")
    odd = shutil.copytree(plain, root / "evil" / "auto-map")
    config = json.loads((odd / "unet" / "config.json").read_text())
    (odd / "unet" / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "x.Y"}}))
    other = shutil.copytree(plain, root / "some" / "other-kind")
    (other / "model_index.json").write_text('{"_class_name": "MarigoldDepthPipeline"}')
    Hub.root = root
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def get(hub, root, *words, **environment):
    """The command in a process of its own: (exit code, last line as JSON, all it said)."""
    env = {**os.environ, "HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "1", **environment}
    env.pop("HF_TOKEN", None) if "HF_TOKEN" not in environment else None
    command = [sys.executable, "-m", "studio.cli", "models", "get", *words, "--workspace", str(root), "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


def test_licence_and_size_are_told_and_nothing_is_fetched(hub, tmp_path):
    Hub.asked.clear()
    code, told, said = get(hub, tmp_path, "some/tiny-model")
    assert code == 0 and told["licence"] == "apache-2.0" and told["size_bytes"] > 1000 and "licence apache-2.0" in said
    assert not any(f.endswith(".bin") for f in told["files"]) and "model_index.json" in told["files"]
    assert not (tmp_path / "models").exists() and all("/resolve/" not in path for path in Hub.asked)


def test_a_model_is_fetched_whole_and_is_a_base(hub, tmp_path):
    code, told, _ = get(hub, tmp_path, "some/tiny-model", "--yes")
    assert code == 0, told
    workspace = Workspace.at(tmp_path)
    assert find_base("some--tiny-model", workspace).family == "sd"
    assert [p.name for p in workspace.models.iterdir()] == ["some--tiny-model"] and not list(workspace.models.rglob("*.bin"))
    code, told, _ = get(hub, tmp_path, "some/tiny-model", "--yes")
    assert code == 2 and "here already" in told["error"]


def test_a_gated_model_is_explained_and_its_token_is_kept_nowhere(hub, tmp_path):
    code, told, said = get(hub, tmp_path, "some/gated-model")
    assert code == 0 and "access must be granted" in told["gated"] and "granted" in said
    code, told, _ = get(hub, tmp_path, "some/gated-model", "--yes")
    assert code == 2 and "it is gated: accept its terms on its page" in told["error"]
    code, told, said = get(hub, tmp_path, "some/gated-model", "--yes", HF_TOKEN=TOKEN)
    assert code == 0 and TOKEN not in said
    assert not any(TOKEN.encode() in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("evil/code", "unet/my.py is a program"),
        ("evil/auto-map", "unet/config.json asks for code (auto_map)"),
        ("some/other-kind", "MarigoldDepthPipeline is a kind of model that is not known here"),
        ("some/nothing", "the hub has no such model"),
        ("../../etc", "this is no hub id"),
        ("nothing", "this is no hub id"),
    ],
)
def test_what_is_not_fetched_says_why_before_any_weights(hub, tmp_path, name, words):
    Hub.asked.clear()
    code, told, _ = get(hub, tmp_path, name, "--yes")
    assert code == 2 and words in told["error"] and "\n" not in told["error"], told
    assert not any(".safetensors" in path for path in Hub.asked)
    assert not [p for p in tmp_path.rglob("*.safetensors")]


def test_without_a_network_it_is_said_in_a_line(tmp_path):
    code, told, _ = get("http://127.0.0.1:9", tmp_path, "some/tiny-model")
    assert code == 2 and "the hub cannot be reached" in told["error"]


def test_one_precision_is_chosen_and_odd_names_are_left():
    sizes = dict.fromkeys(
        ["model_index.json", "unet/config.json", "unet/m.safetensors", "unet/m.fp16.safetensors", "vae/m.safetensors", "x.ckpt",
         "../../out.json", "a/b/c/d.json", "unet/m.msgpack", "README.md", "tokenizer/spiece.model"], 5,
    )  # fmt: skip
    assert choose("a/b", sizes) == [
        "README.md", "model_index.json", "tokenizer/spiece.model", "unet/config.json", "unet/m.fp16.safetensors", "vae/m.safetensors",
    ]  # fmt: skip
    for odd, words in (
        ({"unet/x.json": 1}, "no model_index.json"),
        (sizes | {"unet/run.sh": 1}, "is a program"),
        ({"model_index.json": 1, "unet/m.bin": 1}, "unet has no safetensors"),
    ):
        with pytest.raises(StudioError, match=words):
            choose("a/b", odd)
