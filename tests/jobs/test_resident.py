"""The process that draws and exports: what it makes is right, what goes wrong is told, and it may die at any moment."""

import json
import os
import signal

import numpy
import psutil
import pytest

from studio.errors import StudioError
from studio.jobs.draw import drawing_tasks
from studio.jobs.draw.adapted import draw_pairs, load_adapted
from studio.jobs.draw.drawings import create_drawing
from studio.jobs.export import exports
from studio.jobs.export.exports import create_export
from studio.jobs.processes.warm import Warm
from studio.jobs.resident_client import CRASHED, MAX_WAITING, Resident
from studio.jobs.runs.create import Request, create_run
from studio.jobs.runs.events import read_events
from studio.sample.pair import Sampling
from studio.sample.pictures import read_settings
from studio.store import write_json, write_tensors
from tests.fixtures.waiting import PATIENCE_S, wait_for_state, wait_until
from tests.jobs.conftest import FEW, SETTINGS, carry_out_here, draw_here, make_run_of


@pytest.fixture(scope="module")
def resident(shop):
    client = Resident(shop)
    yield client
    client.close()


def test_base_and_adapted_are_what_sampling_draws(shop, two_runs):
    run = two_runs[0]
    drawing, pictures = draw_here(shop, {"adapters": [{"run": run.id, "strength": 0.5}], "count": 2})
    assert [(p.kind, p.seed, p.width) for p, _ in pictures] == [("base", 5, 16), ("adapted", 5, 16), ("base", 6, 16), ("adapted", 6, 16)]
    adapted = load_adapted(shop, run, None)
    samplings = [Sampling(**{**FEW, "seed": seed}, width=16, height=16) for seed in (5, 6)]
    expected = [numpy.asarray(p).astype(int) for row in draw_pairs(shop, adapted, samplings, [0.5], lambda: None) for p in row]
    assert all(abs(a - b).max() <= 1 for (_, a), b in zip(pictures, expected, strict=True))
    assert abs(pictures[0][1] - pictures[1][1]).max() > 2
    said = read_settings(drawing.pictures / "01.png")
    assert said["request"]["adapters"][0]["run"] == run.id and said["picture"]["strength"] == 0.5
    assert str(shop.root) not in json.dumps(said) and drawing.result()["adapters"][0]["step"] == adapted.step


def test_one_warm_base_serves_every_kind_of_request(shop, two_runs):
    first, second = (r.id for r in two_runs)
    warm = Warm()
    _, strip = draw_here(shop, {"adapters": [{"run": first}], "strip": "strength", "strengths": [0.5, 1.0]}, warm)
    parts = warm._base.parts
    assert [p.strength for p, _ in strip] == [0.0, 0.5, 1.0]
    _, snapshots = draw_here(shop, {"adapters": [{"run": first}], "strip": "snapshots"}, warm)
    assert [p.snapshot for p, _ in snapshots] == [None, 2, 4, 6]
    assert len({a.tobytes() for _, a in snapshots}) == 4
    _, both = draw_here(shop, {"adapters": [{"run": first}, {"run": second, "strength": 0.7}]}, warm)
    _, alone = draw_here(shop, {"adapters": [{"run": second, "strength": 0.7}]})
    assert (both[2][1] == alone[1][1]).all() and (both[0][1] == strip[0][1]).all()
    _, bare = draw_here(shop, {"base": str(two_runs[0].spec().base.source)}, warm)
    assert len(bare) == 1 and (bare[0][1] == strip[0][1]).all()
    assert warm._base.parts is parts, "the base was loaded once"


def test_all_together_is_the_sum_and_one_alone_is_itself(shop, two_runs):
    first, second = (r.id for r in two_runs)
    uses = [{"run": first, "strength": 0.8}, {"run": second, "strength": 0.6}]
    _, together = draw_here(shop, {"adapters": uses, "strip": "together"})
    _, alone = draw_here(shop, {"adapters": uses[:1]})
    assert [p.label for p, _ in together] == ["base", "all together"]
    assert abs(together[1][1] - alone[1][1]).max() > 1
    _, with_nothing = draw_here(shop, {"adapters": [uses[0], {"run": second, "strength": 0.0}], "strip": "together"})
    assert abs(with_nothing[1][1] - alone[1][1]).max() <= 1


@pytest.mark.parametrize("kind", ["loha", "lokr"])
def test_a_dropped_lycoris_file_draws_what_its_run_draws(shop, tiny_folder, tmp_path, kind):
    from studio.jobs.draw.restore import restore_from_adapter
    from studio.jobs.export.exporting import export_run

    run = carry_out_here(make_run_of(shop, tiny_folder, "method.alpha=3", name=kind, recipe=kind))
    file, _ = export_run(shop, run, "lycoris", None, tmp_path / "mine.safetensors")
    use = restore_from_adapter(shop, file, "mine.safetensors")["request"]["adapters"][0] | {"strength": 0.5}
    _, dropped = draw_here(shop, {"base": run.spec().base.source, "adapters": [use]})
    _, own = draw_here(shop, {"adapters": [{"run": run.id, "strength": 0.5}]})
    assert abs(dropped[1][1] - own[1][1]).max() <= 1 < abs(own[0][1] - own[1][1]).max()
    with pytest.raises(StudioError, match="cannot be drawn together"):
        draw_here(shop, {"adapters": [{"run": run.id}, {"run": run.id}], "strip": "together"})


def test_a_dropped_adapter_draws_what_its_run_draws(shop, two_runs, tmp_path):
    from studio.jobs.draw.restore import restore_from_adapter
    from studio.jobs.export.exporting import export_run

    run = two_runs[0]
    file, _ = export_run(shop, run, "kohya", None, tmp_path / "mine.safetensors")
    use = restore_from_adapter(shop, file, "mine.safetensors")["request"]["adapters"][0]
    _, dropped = draw_here(shop, {"base": run.spec().base.source, "adapters": [use]})
    _, own = draw_here(shop, {"adapters": [{"run": run.id}]})
    assert abs(dropped[1][1] - own[1][1]).max() <= 1
    with pytest.raises(StudioError, match="does not fit this base model"):
        draw_here(shop, {"base": "starter", "adapters": [use], "width": 64, "height": 64})


def test_a_dropped_file_that_no_method_makes_draws_what_its_base_does_once_merged(shop, two_runs, tiny_folder, tmp_path):
    import torch

    from studio.families import sd
    from studio.jobs.draw.restore import restore_from_adapter
    from studio.jobs.merge.merging import Member, merge
    from tests.methods.test_foreign import a_mixed_file

    file = tmp_path / "theirs.safetensors"
    write_tensors(file, a_mixed_file(sd.load(tiny_folder, torch.float32, torch.device("cpu")))[0])
    merged = merge(shop, Member(str(file)), str(tiny_folder), tmp_path / "merged")
    use = restore_from_adapter(shop, file, "theirs.safetensors")["request"]["adapters"][0]
    drawing, dropped = draw_here(shop, {"base": str(tiny_folder), "adapters": [use], "strip": "strength", "strengths": [0.5, 1.0]})
    _, whole = draw_here(shop, {"base": str(merged.file)})
    assert abs(dropped[2][1] - whole[0][1]).max() <= 1 < abs(dropped[0][1] - dropped[2][1]).max()
    assert drawing.result()["notes"] == ["theirs.safetensors: 4/4 layers"]
    with pytest.raises(StudioError, match="cannot be drawn together with others"):
        draw_here(shop, {"base": str(tiny_folder), "adapters": [{"run": two_runs[0].id}, use], "strip": "together"})


def test_a_dropped_peft_file_is_read_and_counted(shop, two_runs, tmp_path):
    from studio.jobs.draw.restore import restore_from_adapter
    from studio.jobs.export.exporting import export_run

    run = two_runs[0]
    folder, verified = export_run(shop, run, "peft", None, tmp_path / "peft")
    file = next(folder.rglob("adapter_model.safetensors"))
    began = create_run(
        shop, Request("shapes", str(run.spec().base.source), start_from=str(file.parent), settings=["train.steps=1", *SETTINGS[1:]])
    )
    told = restore_from_adapter(shop, file, "theirs.safetensors")
    assert "in PEFT layout" in " ".join(told["notes"]) and "adapter_config.json" in " ".join(told["notes"])
    request = {"base": run.spec().base.source, "adapters": told["request"]["adapters"]}
    drawing, dropped = draw_here(shop, request)
    _, own = draw_here(shop, {"adapters": [{"run": run.id}]})
    assert abs(dropped[1][1] - own[1][1]).max() <= 1 < abs(own[0][1] - own[1][1]).max()
    count = f"{verified.layers}/{verified.layers} layers"
    assert drawing.result()["notes"] == [f"theirs.safetensors: {count}"] and drawing.result()["adapters"][0]["layers"] == count
    carry_out_here(began)
    assert any(e["kind"] == "imported" and e["layers"] == count for e in read_events(began.events)[0])


def test_the_process_draws_and_exports_and_says_what_it_does(shop, two_runs, resident):
    assert resident.state()["state"] == "off"
    drawing = create_drawing(shop, {**FEW, "adapters": [{"run": two_runs[0].id}], "count": 2})
    resident.draw(drawing.id)
    status = wait_for_state(drawing)
    assert (status["state"], status["done"], status["total"], status["note"]) == ("finished", 4, 4, "")
    machine = json.loads((shop.cache / "machine.json").read_text())
    assert {"device", "name", "precision", "cores", "memory_gib", "time"} <= machine.keys()
    export = create_export(shop, {"run": two_runs[0].id})
    resident.export(export.id)
    assert wait_for_state(export)["state"] == "finished" and export.result()["layers"] == export.result()["expected"] > 0
    wait_until(lambda: resident.state()["state"] == "idle")
    assert resident.state() | {"device": None} == {"state": "idle", "doing": "", "note": "", "queue": 0, "device": None}


def test_what_is_wrong_is_a_line_and_the_next_request_goes_on(shop, two_runs, resident):
    odd = create_drawing(shop, {**FEW, "adapters": [{"run": two_runs[0].id}], "width": 17, "height": 16})
    gone = create_drawing(shop, {**FEW, "adapters": [{"run": two_runs[1].id, "snapshot": 4}]})
    write_json(gone.folder / "request.json", gone.request().model_dump() | {"sampler": "magic"})
    good = create_drawing(shop, {**FEW, "adapters": [{"run": two_runs[1].id}]})
    for drawing in (odd, gone, good):
        resident.draw(drawing.id)
    assert "multiples of 2" in wait_for_state(odd)["error"] and "magic" in wait_for_state(gone)["error"]
    assert wait_for_state(good)["state"] == "finished"


def test_a_drawing_can_be_cancelled_at_work_and_while_it_waits(shop, two_runs, resident):
    long = create_drawing(shop, {**FEW, "adapters": [{"run": two_runs[0].id}], "steps": 500, "count": 16, "seed": 77})
    waiting = create_drawing(shop, {**FEW, "adapters": [{"run": two_runs[0].id}]})
    for drawing in (long, waiting):
        resident.draw(drawing.id)
    wait_for_state(long, "drawing")
    assert resident.state()["state"] == "busy" and "16" not in resident.state()["doing"] and "32 pictures" in resident.state()["doing"]
    resident.cancel(waiting.id)
    assert waiting.status()["state"] == "cancelled"
    resident.cancel(long.id)
    assert wait_for_state(long)["state"] == wait_for_state(waiting)["state"] == "cancelled"
    assert not (long.folder / "result.json").exists()


def test_a_killed_process_fails_what_it_was_at_and_a_new_one_does_the_rest(shop, two_runs, resident):
    at_work = create_drawing(shop, {**FEW, "adapters": [{"run": two_runs[0].id}], "steps": 500, "count": 16, "seed": 99})
    waiting = create_drawing(shop, {**FEW, "adapters": [{"run": two_runs[0].id}]})
    for drawing in (at_work, waiting):
        resident.draw(drawing.id)
    os.kill(wait_for_state(at_work, "drawing")["pid"], signal.SIGKILL)
    wait_until(lambda: at_work.status()["state"] == "failed")
    assert at_work.status()["error"] == CRASHED
    assert wait_for_state(waiting, "finished")


def test_the_queue_is_bounded(shop, two_runs):
    client = Resident(shop)
    try:
        jobs = [create_drawing(shop, {**FEW, "adapters": [{"run": two_runs[0].id}]}) for _ in range(MAX_WAITING + 3)]
        with pytest.raises(StudioError, match="waiting already"):
            for job in jobs:
                client.draw(job.id)
    finally:
        client.close()


def test_it_ends_with_its_parent(shop, two_runs):
    client = Resident(shop)
    drawing = create_drawing(shop, {**FEW, "adapters": [{"run": two_runs[0].id}], "steps": 500, "count": 16, "seed": 3})
    client.draw(drawing.id)
    process = psutil.Process(wait_for_state(drawing, "drawing")["pid"])
    client._process.stdin.close()  # as when the parent is killed
    process.wait(PATIENCE_S)
    client.close()
    assert drawing.status()["state"] in {"interrupted", "failed"}


def test_a_cut_memory_is_told_with_the_way_out(shop, two_runs, monkeypatch):
    import torch

    from studio.jobs import resident as process

    def explode(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    told = []
    server = process.Server(shop, type("Out", (), {"write": lambda s, text: told.append(json.loads(text)), "flush": lambda s: None})())
    monkeypatch.setattr(drawing_tasks, "carry_out", explode)
    drawing = create_drawing(shop, {**FEW, "adapters": [{"run": two_runs[0].id}]})
    server._work("draw", drawing.id)
    assert drawing.status()["state"] == "failed" and "fewer pictures" in drawing.status()["error"]
    export = exports.create_export(shop, {"run": two_runs[0].id})
    monkeypatch.undo()
    server._work("export", export.id)
    assert export.status()["state"] == "finished"
