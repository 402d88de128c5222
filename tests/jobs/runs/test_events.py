"""Events are appended whole, read from where one left off, and survive a killed writer."""

import json

from studio.jobs.runs.events import EventLog, read_events


def test_events_come_back_in_order_from_a_cursor(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    log.emit("started", step=0)
    events, cursor = read_events(tmp_path / "events.jsonl")
    assert [e["kind"] for e in events] == ["started"]
    log.emit("score", step=5, held_out={"loss": 0.5, "standard_error": float("nan")})
    events, cursor = read_events(tmp_path / "events.jsonl", cursor)
    assert [(e["kind"], e["step"], e["held_out"]) for e in events] == [("score", 5, {"loss": 0.5, "standard_error": None})]
    assert read_events(tmp_path / "events.jsonl", cursor) == ([], cursor)


def test_a_torn_last_line_is_left_out_then_cut_off(tmp_path):
    path = tmp_path / "events.jsonl"
    EventLog(path).emit("started", step=0)
    with open(path, "a") as file:
        file.write('{"kind": "step", "st')
    events, cursor = read_events(path)
    assert len(events) == 1
    EventLog(path).emit("resumed", step=0)
    events, _ = read_events(path, cursor)
    assert [e["kind"] for e in events] == ["resumed"]


def test_damaged_lines_are_skipped(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'\x00\x00\x00\nnull\n[1]\n{"no": "kind"}\n{"kind": "ok"}\n')
    assert [e["kind"] for e in read_events(path)[0]] == ["ok"]


def test_steps_are_written_in_bunches_but_none_is_lost(tmp_path):
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    for step in range(1000):
        log.emit("step", step=step, loss=float("inf"), seconds=0.0)
    log.emit("finished")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [e.get("step") for e in lines] == [*range(1000), None] and lines[0]["loss"] is None


def test_a_missing_log_is_empty(tmp_path):
    assert read_events(tmp_path / "none.jsonl", 7) == ([], 7)
