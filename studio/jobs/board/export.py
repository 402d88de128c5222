"""The board as a file: a table for spreadsheets that runs nothing, or one page of HTML with curves and pictures in it. No torch here."""

import base64
import csv
import io
import os
import struct
from html import escape
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.jobs.board.facts import NONE, UNSET
from studio.jobs.board.pictures import columns_of, group_by_base, preview_rows
from studio.jobs.board.style import STYLE
from studio.jobs.board.table import compare
from studio.jobs.runs.metrics import LiveRuns
from studio.store import Workspace, write_bytes

SUFFIXES = (".html", ".csv")
STARTERS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # by which a cell's text would become a formula in some spreadsheet
LEFT_OUT = "left out: written only when asked for"
DRAWN = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}  # what a picture needs to be seen; its texts hold the prompt
MAX_PICTURE_BYTES = 24 << 20
COLOURS = 8  # --run-1 … in the style
WIDTH, HEIGHT, GAP = 640, 200, 56
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def check_target(out: Path) -> Path:
    """`out` as an absolute path that nothing lies at; StudioError otherwise."""
    if out.suffix.lower() not in SUFFIXES:
        raise StudioError(f"--out {out}: give a file name that ends in .html or .csv")
    path = out.expanduser().resolve()
    if path.exists() or out.is_symlink():
        raise StudioError(f"--out {out} exists already and is not overwritten: choose another name, or move it away")
    return path


def write_board(workspace: Workspace, ids: list[str], out: Path, prompts: bool = False) -> Path:
    """Write the board to `out`, as its suffix says; what a person typed goes in only with `prompts`."""
    path = check_target(out)
    text = to_csv(workspace, ids, prompts) if path.suffix.lower() == ".csv" else to_html(workspace, ids, prompts)
    write_bytes(path, text.encode("utf-8", "replace"))
    return path


def to_csv(workspace: Workspace, ids: list[str], prompts: bool = False) -> str:
    """The board as CSV: a column per run; no cell can begin a formula."""
    board = _shareable(workspace, compare(workspace, ids), prompts)
    out = io.StringIO()
    out.write("\ufeff")  # else spreadsheets read other letters wrongly
    table = csv.writer(out, quoting=csv.QUOTE_ALL)
    heads = board["runs"]
    rows = [["Differs", "Group", "Fact", "Unit", *(h["name"] for h in heads)], ["", "", "Run", "", *(h["run"] for h in heads)]]
    if any(h["error"] for h in heads):
        rows.append(["", "", "Problem", "", *(h["error"] for h in heads)])
    rows += [["≠" if r["differs"] else "", r["group"], r["title"], r["unit"], *r["values"]] for r in board["rows"]]
    rows += [["", "Note", note] for note in board["notes"]]
    table.writerows([[safe_cell(cell) for cell in row] for row in rows])
    return out.getvalue()


def safe_cell(text: str) -> str:
    """`text` as a cell that no spreadsheet takes for a formula: such a one gets an apostrophe before it."""
    return f"'{text}" if text.startswith(STARTERS) or text.lstrip().startswith(STARTERS) else text


def _shareable(workspace: Workspace, board: dict[str, Any], prompts: bool) -> dict[str, Any]:
    """The board without places on this disk, and without what a person typed unless asked for."""
    roots = (str(workspace.root) + os.sep, str(workspace.root))

    def clean(value: str) -> str:
        for root in roots:
            value = value.replace(root, "")
        return value

    runs = [h | {"error": clean(h["error"])} for h in board["runs"]]
    rows = []
    for row in board["rows"]:
        values = row["values"]
        if row["key"] == "base.source":
            values = [Path(v.replace("\\", "/")).name or v for v in values]
        elif row["personal"] and not prompts:
            values = [v if v in (NONE, UNSET) else LEFT_OUT for v in values]
        rows.append(row | {"values": [clean(v) for v in values]})
    return board | {"runs": runs, "rows": rows}


def to_html(workspace: Workspace, ids: list[str], prompts: bool = False) -> str:
    """The board as one page that needs nothing else: no script, no address; every text escaped."""
    board = _shareable(workspace, compare(workspace, ids), prompts)
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">',
        f"<title>Runs side by side</title><style>{STYLE}</style></head><body><h1>Runs side by side</h1>",
        *(f'<p class="note">{escape(note)}</p>' for note in board["notes"]),
        _legend(board["runs"]),
        _curves(workspace, board["runs"]),
        _matrix(workspace, ids, prompts),
        _table(board),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _colour(i: int) -> str:
    return f"var(--run-{i % COLOURS + 1})"


def _dot(i: int) -> str:
    return f'<span class="dot" style="background:{_colour(i)}"></span>'


def _legend(runs: list[dict[str, Any]]) -> str:
    items = (f"<li>{_dot(i)}{escape(r['name'])} <code>{escape(r['run'])}</code></li>" for i, r in enumerate(runs))
    return f'<ul class="legend">{"".join(items)}</ul>'


def _curves(workspace: Workspace, runs: list[dict[str, Any]]) -> str:
    live, losses, scores = LiveRuns(workspace), [], []
    for i, run in enumerate(runs):
        if run["error"]:
            continue
        told = live.live(run["run"])
        losses.append((i, [(x, y) for x, y in told["points"]["smooth"] if y is not None]))
        scores.append((i, [(s["step"], s["loss"]) for s in told["scores"] if s["loss"] is not None]))
    return _chart("Training loss, smoothed", losses) + _chart("Held-out loss", scores)


def _chart(title: str, series: list[tuple[int, list[tuple[float, float]]]]) -> str:
    """Lines as SVG; nothing where no run has such a curve."""
    points = [p for _, line in series for p in line]
    if not points:
        return ""
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    span_x, span_y = (last - first) or 1, (high - low) or 1

    def place(x: float, y: float) -> str:
        return f"{GAP + (x - first) / span_x * (WIDTH - GAP - 8):.1f},{HEIGHT - 24 - (y - low) / span_y * (HEIGHT - 36):.1f}"

    lines = []
    for i, line in series:
        colour, dash = _colour(i), ' stroke-dasharray="5 3"' if i >= COLOURS else ""
        path = " ".join(place(x, y) for x, y in line)
        lines.append(f'<polyline fill="none" style="stroke:{colour}" stroke-width="1.8"{dash} points="{path}"/>')
        if len(line) < 24:
            lines += [f'<circle r="2.5" style="fill:{colour}" cx="{c[0]}" cy="{c[1]}"/>' for c in (place(x, y).split(",") for x, y in line)]
    marks = [
        (4, 14, f"{high:.3g}"),
        (4, HEIGHT - 22, f"{low:.3g}"),
        (GAP, HEIGHT - 6, f"step {first}"),
        (WIDTH - 70, HEIGHT - 6, f"{last}"),
    ]
    texts = [f'<text x="{x}" y="{y}">{escape(text)}</text>' for x, y, text in marks]
    picture = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(texts + lines)}</svg>'
    return f"<h2>{escape(title)}</h2>{picture}"


def _matrix(workspace: Workspace, ids: list[str], prompts: bool) -> str:
    """The newest previews beside those of the base, as pictures inside the page."""
    groups = group_by_base(workspace, ids)
    columns, rows, room = columns_of(groups), preview_rows(groups), MAX_PICTURE_BYTES
    if not rows:
        return ""
    runs = {m.run.id: m.run for group in groups for m in group}
    body = []
    for i, row in enumerate(rows):
        cells = []
        for column, file in zip(columns, row["files"], strict=True):
            data = bare_png(runs[column["run"]].folder / file) if file else b""
            room -= len(data)
            alt = escape(f"{column['title']}, preview {i + 1}")
            inside = f'<img alt="{alt}" src="data:image/png;base64,{base64.b64encode(data).decode()}">' if data and room > 0 else NONE
            cells.append(f"<td>{inside}</td>")
        name = row["prompt"] if prompts and row["prompt"] else f"Preview {i + 1}"
        body.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>')
    heads = "".join(f'<th scope="col" class="{c["kind"]}">{escape(c["title"])}</th>' for c in columns)
    note = "" if room > 0 else '<p class="note">Some pictures were left out: together they are too large for one file.</p>'
    table = f'<table class="pictures"><thead><tr><td></td>{heads}</tr></thead><tbody>{"".join(body)}</tbody></table>'
    return f'<h2>Previews</h2>{note}<div class="wide">{table}</div>'


def bare_png(path: Path) -> bytes:
    """A PNG's bytes without its texts; empty where it cannot be read. No pixel is decoded."""
    try:
        data = path.read_bytes()
    except OSError:
        return b""
    kept, at = [data[:8]], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] in DRAWN:
            kept.append(data[at : at + 12 + length])
        at += 12 + length
    return b"".join(kept) if data.startswith(b"\x89PNG") else b""


def _table(board: dict[str, Any]) -> str:
    heads = []
    for i, run in enumerate(board["runs"]):
        problem = f'<p class="problem">{escape(run["state"])}: {escape(run["error"])}</p>' if run["error"] else ""
        heads.append(f'<th scope="col">{_dot(i)}{escape(run["name"])}{problem}</th>')
    body, group, width = [], "", len(heads) + 1
    for row in board["rows"]:
        if row["group"] != group:
            group = row["group"]
            body.append(f'<tr class="group"><th colspan="{width}">{escape(group)}</th></tr>')
        unit = f" ({escape(row['unit'])})" if row["unit"] else ""
        mark = '<b title="differs">≠</b> ' if row["differs"] else ""
        cells = "".join(f"<td>{escape(value)}</td>" for value in row["values"])
        body.append(
            f'<tr class="{"differs" if row["differs"] else "same"}"><th scope="row">{mark}{escape(row["title"])}{unit}</th>{cells}</tr>'
        )
    switch = '<input type="checkbox" id="only"><label for="only"> Only what differs</label>'
    table = f"<table><thead><tr><td></td>{''.join(heads)}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return f'<h2>Facts and settings</h2>{switch}<div class="wide">{table}</div>'
