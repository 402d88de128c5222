"""The endpoints for programs, through `gradio_client` as a program would use them, on a tiny real base."""

import pytest
from PIL import Image

from tests.fixtures.tiny import images
from tests.ui.browser import Studio, wait_until

FAST = ["train.steps=4", "train.batch_size=2", "method.rank=2", "preview.every=0", "evaluate.num_timesteps=2", "train.snapshot_every=2"]
NAMES = ["/export", "/import_pictures", "/list_datasets", "/run_state", "/sample", "/train"]


@pytest.fixture(scope="module")
def client(studio, tiny_base):
    gradio_client = pytest.importorskip("gradio_client")
    return gradio_client.Client(studio.url, verbose=False)


@pytest.fixture(scope="module")
def dataset(client, studio):
    """The id of a dataset that was imported by paths."""
    given = images(studio.workspace.root.parent / "pictures", 8)
    (given / "notes.pdf").write_bytes(b"%PDF-1.7")
    made = client.predict("shapes & co", [str(given)], api_name="/import_pictures")
    assert made["images"] == 8 and made["held_out"] >= 1
    assert [s["file"] for s in made["skipped"]] == ["notes.pdf"]
    return made["dataset"]


@pytest.fixture(scope="module")
def run(client, dataset, tiny_base):
    """The id of a run that was trained through the API."""
    begun = client.predict(dataset, tiny_base, "lora", "quick", "by a program", FAST, api_name="/train")
    assert begun["steps"] == 4

    def ended():
        state = client.predict(begun["run"], api_name="/run_state")
        assert state["state"] not in ("failed", "interrupted", "stopped"), state
        return state["state"] == "finished" and state

    state = wait_until(ended, "the run", 240)
    assert state["step"] == 4 and state["has_adapter"] and state["dataset"] == dataset
    return begun["run"]


def test_six_endpoints_with_types_and_nothing_else(client):
    described = client.view_api(print_info=False, return_format="dict")
    assert sorted(described["named_endpoints"]) == NAMES and not described["unnamed_endpoints"]
    parameters = described["named_endpoints"]["/sample"]["parameters"]
    assert [p["parameter_name"] for p in parameters] == ["run", "prompt", "negative", "seed", "steps", "guidance", "strength", "count"]
    assert [p["python_type"]["type"] for p in parameters] == ["str", "str", "str", "int", "int", "None | float", "float", "int"]
    assert [p["parameter_has_default"] for p in parameters] == [False] + [True] * 7


def test_datasets_are_listed(client, dataset):
    (found,) = [d for d in client.predict(api_name="/list_datasets") if d["dataset"] == dataset]
    assert found["name"] == "shapes & co" and found["images"] == 8 and found["train"] + found["held_out"] == 8


def test_a_run_is_trained_sampled_and_exported(client, run, studio):
    drawn = client.predict(run, "a red disc", steps=2, count=2, strength=0.5, api_name="/sample")
    assert [(p["kind"], p["seed"]) for p in drawn["pictures"]] == [("base", 0), ("adapted", 0), ("base", 1), ("adapted", 1)]
    for picture in drawn["pictures"]:
        with Image.open(picture["file"]) as there:
            there.load()
        assert studio.get(picture["url"])[:4] == b"\x89PNG"
    made = client.predict(run, api_name="/export")
    assert made["layers"] > 0 and made["file"].endswith(".safetensors")
    from safetensors import safe_open

    with safe_open(made["file"], "pt") as file:
        assert list(file.keys())


@pytest.mark.parametrize(
    "endpoint, values, told",
    [
        ("/run_state", {"run": "<b>none"}, "no such run"),
        ("/train", {"dataset": "../../etc"}, "etc"),
        ("/train", {"dataset": "shapes-co", "preset": "endless"}, "preset"),
        ("/train", {"dataset": "shapes-co", "settings": ["train.steps=-1"]}, "train.steps"),
        ("/import_pictures", {"name": "x", "paths": []}, "name at least one"),
        ("/import_pictures", {"name": "x", "paths": [""]}, "empty"),
        ("/import_pictures", {"name": "x", "paths": [5]}, "must be a valid string"),
        ("/sample", {"run": "none"}, "no such run"),
        ("/sample", {"run": 1, "steps": "many"}, "must be a valid"),
        ("/export", {"run": "none"}, "no such run"),
    ],
)
def test_what_is_asked_wrongly_is_told_in_one_line(client, dataset, endpoint, values, told):
    with pytest.raises(Exception) as caught:
        client.predict(**values, api_name=endpoint)
    line = str(caught.value)
    assert told in line and "\n" not in line and "<b>" not in line and "Traceback" not in line


def test_paths_are_not_read_for_others(tmp_path):
    """With a name allowed for a proxy, who asks may be far away: then no path of this machine is read."""
    gradio_client = pytest.importorskip("gradio_client")
    studio = Studio(tmp_path, "--allow-host", "studio.example.org", DOMAIN_STUDIO_TOKEN="correct-horse").start()
    try:
        client = gradio_client.Client(studio.url, verbose=False, headers={"Authorization": "Bearer correct-horse"})
        assert client.predict(api_name="/list_datasets") == []
        with pytest.raises(Exception, match="only for programs on the studio"):
            client.predict("x", [str(tmp_path)], api_name="/import_pictures")
        with pytest.raises(Exception, match="login"):
            gradio_client.Client(studio.url, verbose=False)
    finally:
        studio.stop()
