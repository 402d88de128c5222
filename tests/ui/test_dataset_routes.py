"""The routes of datasets and imports, without a browser: what is sent is taken whole or refused in one line, and space is freed."""

import io
import socket
import sys
import threading
import time
import zipfile
from contextlib import contextmanager

import pytest
import uvicorn
from fastapi import FastAPI

from studio.dataset.rows import Dataset, open_dataset
from studio.store import Workspace
from tests.dataset.corpus import encode, photo
from tests.fixtures.waiting import wait_until
from ui import imports as imports_module
from ui.app import _tell
from ui.desk import Desk
from ui.routes import datasets, imports

httpx = pytest.importorskip("httpx")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    desk = Desk(Workspace.at(tmp_path_factory.mktemp("space") / "workspace"))
    yield desk
    desk.close()


@pytest.fixture(scope="module")
def server(desk):
    """The routes alone, on a real socket: only there do uploads break off."""
    app = FastAPI()
    for kind in (ValueError, OSError):
        app.add_exception_handler(kind, _tell)
    for area in (datasets, imports):
        app.include_router(area.router(desk), prefix="/studio")
    running = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.02)
    yield running.servers[0].sockets[0].getsockname()[1]
    running.should_exit = True
    thread.join(10)


@pytest.fixture
def client(server):
    with httpx.Client(base_url=f"http://127.0.0.1:{server}", timeout=60) as client:
        yield client


def begin(client, dataset=None, name=None):
    answer = client.post("/studio/imports", json={"dataset": dataset, "name": name})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def send(client, id, name, data):
    return client.put(f"/studio/imports/{id}/files", params={"name": name}, content=data)


def finish(client, id):
    client.post(f"/studio/imports/{id}/finish")
    wait_until(lambda: client.get(f"/studio/imports/{id}").json()["state"] != "reading")
    return client.get(f"/studio/imports/{id}").json()


@pytest.fixture
def ten(client, desk):
    """A dataset of ten pictures of its own, made through the routes; its folder name."""
    id = begin(client, name="ten")
    for i in range(10):
        send(client, id, f"ten/a{i}.png", encode(photo(i), "PNG"))
        send(client, id, f"ten/a{i}.txt", f"picture {i}".encode())
    state = finish(client, id)
    assert (state["state"], state["added"], state["skipped"]) == ("finished", 10, []), state
    return state["dataset"]


def left_over(desk):
    folder = desk.workspace.root / "incoming"
    return list(folder.iterdir()) if folder.exists() else []


def test_folders_keep_their_captions_and_lead_nowhere_else(client, desk):
    id = begin(client, name="Mine")
    lines = '{"file_name": "sub/x.png", "text": "from the table"}\n'
    for name, data in {
        "../../up/metadata.jsonl": lines.encode(),
        "../../up/sub/x.png": encode(photo(50), "PNG"),
        "/etc/./<img src=x onerror=alert(1)>.png": encode(photo(51), "PNG"),
        "/etc/./<img src=x onerror=alert(1)>.txt": b"a ${console.error(1)} <img src=x>",
        "a\\b\n.png": encode(photo(52), "PNG"),
        "x" * 251 + ".png": encode(photo(53), "PNG"),
        "same.png": encode(photo(54), "PNG"),
        "SAME.png": encode(photo(55), "PNG"),
    }.items():
        answer = send(client, id, name, data)
        assert answer.status_code == 200, (name, answer.text)
    answer = send(client, id, "same.png", encode(photo(56), "PNG"))
    assert answer.json() == {"received": 9}
    state = finish(client, id)
    assert (state["state"], state["added"], state["skipped"], state["name"]) == ("finished", 7, [], "Mine"), state
    dataset = open_dataset(desk.workspace, state["dataset"])
    said = {row.source: dataset.caption(row) for row in dataset.rows}
    assert said["x.png"] == "from the table"
    assert said["<img src=x onerror=alert(1)>.png"] == "a ${console.error(1)} <img src=x>"
    assert not list(desk.workspace.root.parent.rglob("metadata.jsonl")) and left_over(desk) == []


def test_a_name_that_is_too_long_for_the_disk_is_said_and_the_rest_goes_on(client):
    id = begin(client)
    answer = send(client, id, "é" * 200 + ".png", encode(photo(60), "PNG"))
    assert answer.status_code in (400, 500) and "too long" in answer.json()["error"]
    send(client, id, "good.png", encode(photo(60), "PNG"))
    assert finish(client, id)["added"] == 1


def test_names_of_new_datasets_are_counted_on(client):
    names = []
    for i in range(2):
        id = begin(client, name="!!!")
        send(client, id, "a.png", encode(photo(70 + i), "PNG"))
        names.append(finish(client, id)["name"])
    assert names[1].removeprefix(names[0]) or names[1] != names[0]
    assert all(name.startswith("pictures") for name in names)


def test_pictures_are_added_to_a_dataset_and_known_ones_are_said(client, ten):
    id = begin(client, dataset=ten)
    send(client, id, "a0.png", encode(photo(0), "PNG"))
    send(client, id, "new.png", encode(photo(80), "PNG"))
    state = finish(client, id)
    assert state["added"] == 1 and "is the same picture as 0001-a0.png" in state["skipped"][0]["reason"]
    assert client.get(f"/studio/datasets/{ten}").json()["total"] == 11


@pytest.mark.parametrize("files", [{}, {"a.png": b"text", "b.zip": b"PK\3\4x"}])
def test_an_import_of_nothing_readable_fails_in_one_line(client, desk, files):
    id = begin(client)
    for name, data in files.items():
        send(client, id, name, data)
    state = finish(client, id)
    assert state["state"] == "failed" and "are readable" in state["error"] and "\n" not in state["error"]
    assert left_over(desk) == []


def test_an_ended_import_takes_nothing_more(client, ten):
    id = begin(client, dataset=ten)
    assert client.delete(f"/studio/imports/{id}").json()["state"] == "cancelled"
    assert "ended already" in send(client, id, "a.png", b"x").json()["error"]
    assert finish(client, id)["state"] == "cancelled"
    assert "not known any more" in client.get("/studio/imports/0123").json()["error"]
    assert "no dataset is called" in client.post("/studio/imports", json={"dataset": "gone"}).json()["error"]


def test_cancelling_while_it_reads_leaves_nothing_behind(client, desk, ten):
    before = Dataset.load(desk.workspace.datasets / ten)
    id = begin(client, dataset=ten)
    for i in range(60):
        send(client, id, f"{i}.jpg", encode(photo(500 + i, (640, 480)), "JPEG"))
    client.post(f"/studio/imports/{id}/finish")
    client.delete(f"/studio/imports/{id}")
    wait_until(lambda: client.get(f"/studio/imports/{id}").json()["state"] != "reading")
    assert client.get(f"/studio/imports/{id}").json()["state"] == "cancelled"
    assert Dataset.load(desk.workspace.datasets / ten) == before and left_over(desk) == []


@contextmanager
def half_sent(port, id, name, size):
    """An upload that has sent half of what it promised."""
    connection = socket.create_connection(("127.0.0.1", port))
    head = f"PUT /studio/imports/{id}/files?name={name} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
    connection.sendall(head.encode() + b"x" * (size // 2))
    yield connection
    connection.close()


def test_a_hundred_uploads_that_break_off_leave_no_space_taken(client, server, desk):
    ids = [begin(client) for _ in range(5)]
    for i in range(100):
        with half_sent(server, ids[i % 5], f"{i}.png", 200_000):
            pass
    wait_until(lambda: not list((desk.workspace.root / "incoming").rglob("*.png")), "no file that broke off is left")
    send(client, ids[0], "0.png", encode(photo(90), "PNG"))
    assert finish(client, ids[0])["added"] == 1
    for id in ids[1:]:
        client.delete(f"/studio/imports/{id}")


def test_an_abandoned_import_frees_its_space(client, desk, monkeypatch):
    monkeypatch.setattr(imports_module, "ABANDONED_S", 0.3)
    id = begin(client)
    send(client, id, "a.png", encode(photo(91), "PNG"))
    wait_until(lambda: left_over(desk) == [])
    assert "given up" in client.get(f"/studio/imports/{id}").json()["error"]


def test_what_a_killed_studio_left_is_removed_at_the_start(tmp_path):
    workspace = Workspace.at(tmp_path / "w")
    left = workspace.root / "incoming" / ".tmp-making-old"
    left.mkdir(parents=True)
    (left / "a.png").write_bytes(b"x")
    desk = Desk(workspace)
    assert not left.exists()
    desk.close()


def test_limits_are_told_with_the_name(client, desk, monkeypatch):
    monkeypatch.setattr(imports_module, "MAX_FILE_BYTES", 1000)
    monkeypatch.setattr(imports_module, "MAX_FILES", 2)
    monkeypatch.setattr(imports_module, "MAX_TOTAL_BYTES", 1500)
    id = begin(client)
    answer = send(client, id, "big.bmp", b"x" * 1001)
    assert answer.status_code == 400 and answer.json()["error"].startswith("big.bmp: is larger than")
    assert send(client, id, "stream.bmp", iter([b"x" * 600, b"x" * 600])).json()["error"].startswith("stream.bmp: is larger than")
    assert send(client, id, "a.png", b"x" * 900).status_code == 200
    assert "in one import" in send(client, id, "b.png", b"x" * 900).json()["error"]
    assert send(client, id, "c.png", b"x").status_code == 200
    assert "more than 2 files" in send(client, id, "d.png", b"x").json()["error"]
    client.delete(f"/studio/imports/{id}")
    monkeypatch.setattr("ui.imports.SPARE_BYTES", 2**60)
    id = begin(client)
    answer = send(client, id, "a.png", b"x")
    assert answer.status_code == 507, "the page need not try the others"
    assert "/incoming: the disk is full: free some space" in answer.json()["error"] and ".tmp-" not in answer.json()["error"]
    client.delete(f"/studio/imports/{id}")


def test_pages_and_views(client, ten):
    listed = next(each for each in client.get("/studio/datasets").json() if each["dataset"] == ten)
    assert [listed[key] for key in ("images", "train", "held_out", "captions")] == [10, 8, 2, 10]
    answer = client.get(f"/studio/datasets/{ten}", params={"offset": 2, "limit": 3}).json()
    assert (answer["total"], answer["shown"], [item["source"] for item in answer["items"]]) == (10, 10, ["a2.png", "a3.png", "a4.png"])
    assert client.get(f"/studio/datasets/{ten}", params={"known": answer["version"]}).json()["same"]
    assert client.get(f"/studio/datasets/{ten}", params={"limit": 201}).status_code == 422
    for key in ("thumb", "view"):
        view = client.get(answer["items"][0][key])
        assert view.headers["content-type"] == "image/webp" and "immutable" in view.headers["cache-control"]
        assert view.content[:4] == b"RIFF"
    for name in ("0" * 64 + "-256.webp", "..%2f..%2fdataset.json", "dataset.json"):
        assert client.get(f"/studio/views/{name}").status_code in (400, 404)


def test_captions_removal_undo_trigger_and_bulk(client, ten):
    item = client.get(f"/studio/datasets/{ten}").json()["items"][0]
    hostile = "a ${console.error(1)} {{value}} <img src=x onerror=alert(1)>"
    assert client.put(f"/studio/datasets/{ten}/caption", json={"file": item["file"], "caption": hostile}).json()["caption"] == hostile
    long = client.put(f"/studio/datasets/{ten}/caption", json={"file": item["file"], "caption": "x" * 2**16}).json()
    assert len(long["caption"]) == 8192 and "cut at 8 KiB" in long["note"]
    stale = client.put(f"/studio/datasets/{ten}/caption", json={"file": item["file"], "caption": "y", "before": item["caption"]})
    assert stale.status_code == 400 and "another window" in stale.json()["error"]
    removed = client.post(f"/studio/datasets/{ten}/remove", json={"files": [item["file"]]}).json()
    assert client.get(f"/studio/datasets/{ten}").json()["total"] == 9
    assert client.get(f"/studio/datasets/{ten}/history").json()[0]["undo"] == removed["undo"]
    assert "another window" in client.post(f"/studio/datasets/{ten}/remove", json={"files": [item["file"]]}).json()["error"]
    assert client.post(f"/studio/datasets/{ten}/undo", json={"undo": removed["undo"]}).json()["text"] == "Brought back 1 picture"
    assert client.put(f"/studio/datasets/{ten}/trigger", json={"trigger": " mri "}).json() == {"trigger": "mri"}
    change = {"operation": "trigger", "preview": True}
    assert client.post(f"/studio/datasets/{ten}/bulk", json=change).json()["count"] == 10
    assert client.post(f"/studio/datasets/{ten}/bulk", json=change | {"preview": False}).json()["cut"] == 1
    assert client.get(f"/studio/datasets/{ten}").json()["items"][1]["caption"] == "mri, picture 1"
    assert client.post(f"/studio/datasets/{ten}/bulk", json={"operation": "rm", "x": 1}).status_code == 422


def test_whole_datasets(client, desk, ten, tmp_path):
    assert client.post(f"/studio/datasets/{ten}/rename", json={"name": "Näme <b>"}).json() == {"name": "Näme <b>"}
    with zipfile.ZipFile(io.BytesIO(client.get(f"/studio/datasets/{ten}/export.zip?captions=jsonl").content)) as archive:
        assert len(archive.namelist()) == 11 and archive.testzip() is None
    assert client.get(f"/studio/datasets/{ten}/export.zip?captions=parquet&dry=true").status_code == 204
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", None)
        refused = client.get(f"/studio/datasets/{ten}/export.zip?captions=parquet&dry=true")
        assert refused.status_code == 400 and "install parquet" in refused.json()["error"]
    out = tmp_path / "out"
    assert client.post(f"/studio/datasets/{ten}/export", json={"path": str(out)}).json() == {"path": str(out)}
    assert len(list(out.iterdir())) == 20
    assert "exists already" in client.post(f"/studio/datasets/{ten}/export", json={"path": str(out)}).json()["error"]
    for path in ("", "relative", "../x"):
        assert "whole path" in client.post(f"/studio/datasets/{ten}/export", json={"path": path}).json()["error"]
    trash = client.delete(f"/studio/datasets/{ten}").json()["trash"]
    assert client.get(f"/studio/datasets/{ten}").status_code == 400
    assert client.post("/studio/datasets/restore", json={"trash": trash}).json() == {"dataset": ten}
    assert client.get(f"/studio/datasets/{ten}").json()["total"] == 10


def test_demos(client):
    assert {demo["demo"] for demo in client.get("/studio/demos").json()} == {"brain-mri", "icons", "satellite"}
    made = client.post("/studio/datasets/demo", json={"demo": "satellite"}).json()
    assert made["images"] == made["captions"] > 20 and made["thumbs"]
    assert client.post("/studio/datasets/demo", json={"demo": "satellite"}).json()["name"] == "Satellite 2"
    assert "there are" in client.post("/studio/datasets/demo", json={"demo": "../x"}).json()["error"]


def test_a_workspace_that_is_gone_is_said_and_not_made_anew(client, desk):
    root, away = desk.workspace.root, desk.workspace.root.with_name("away")
    root.rename(away)
    try:
        for method, path in (("GET", "/studio/datasets"), ("POST", "/studio/imports"), ("GET", "/studio/views/x")):
            answer = client.request(method, path, json={})
            assert answer.status_code == 400 and "is gone" in answer.json()["error"]
        assert not root.exists()
    finally:
        away.rename(root)


def test_two_clients_at_once(server, ten):
    """Both remove, caption and add; every answer is a result or a sentence, and nothing is lost."""
    answers = []

    def press(number):
        with httpx.Client(base_url=f"http://127.0.0.1:{server}", timeout=60) as client:
            for i in range(5):
                answers.append(client.put(f"/studio/datasets/{ten}/caption", json={"file": f"000{i + 1}-a{i}.png", "caption": f"{number}"}))
                answers.append(client.post(f"/studio/datasets/{ten}/remove", json={"files": [f"000{i + 5}-a{i + 4}.png"]}))

    threads = [threading.Thread(target=press, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {200, 400}
    assert all("another window" in answer.json()["error"] for answer in answers if answer.status_code == 400)
    with httpx.Client(base_url=f"http://127.0.0.1:{server}", timeout=60) as client:
        assert client.get(f"/studio/datasets/{ten}").json()["total"] == 5
