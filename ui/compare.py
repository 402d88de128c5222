"""What the Compare screen can offer: adapters and their snapshots, sizes, samplers, defaults, and a run's previews as first pictures."""

from typing import Any
from urllib.parse import quote

from studio import registry
from studio.errors import StudioError
from studio.families.configured import own_size_px
from studio.jobs.draw.drawings import Drawing
from studio.jobs.draw.restore import read_png_settings
from studio.jobs.runs.events import read_events
from studio.jobs.runs.folders import Run, find_run
from studio.jobs.runs.snapshots import chosen, runs_with_adapter, scored_snapshots
from studio.models.bases import EMBEDDED_BASES, find_base, reads_text
from studio.store import Workspace

QUARTERS = ((6, 4), (4, 6), (6, 6), (8, 8))  # further sizes, in quarters of the model's own side


def run_choices(workspace: Workspace, dropped: list[tuple[str, str]] = ()) -> list[tuple[str, str]]:
    """(label, value) of every adapter: the base alone, the runs, and files that were dropped."""
    return [("none: the base alone", ""), *((r.id, r.id) for r in runs_with_adapter(workspace)), *dropped]


def snapshot_choices(workspace: Workspace, name: str) -> list[tuple[str, str]]:
    """(label, value) of a run's adapters: the chosen one, then each snapshot with what it did on held-out pictures."""
    try:
        run = find_run(workspace, name)
    except StudioError:
        return [("as it is", "")]
    step = chosen(run).get("step")
    first = "newest snapshot" if not run.adapter.is_file() else "best" if step is None else f"best (step {step})"
    rows = [(f"step {s['step']}" + _change(s["change_percent"]), str(s["step"])) for s in scored_snapshots(run)]
    return [(first, ""), *rows]


def _change(percent: float | None) -> str:
    return "" if percent is None else " · held-out " + f"{percent:+.1f} %".replace("-", "\N{MINUS SIGN}")


def native_size(workspace: Workspace, source: str, run: Run | None = None) -> int | None:
    """The side, in pixels, that a base draws by itself; None where only loading it would tell."""
    if run:
        try:
            size_px = run.spec().base.size_px
            width = read_png_settings(run.folder / "previews" / "base" / "00.png").get("width") if size_px is None else size_px
            if isinstance(width, int):
                return width
        except (StudioError, OSError):
            pass  # no previews yet
    try:
        base = find_base(source or "starter", workspace)
        return own_size_px(base.path, registry.family(base.family).card.denoiser)
    except (StudioError, OSError):
        return None


def size_choices(size_px: int | None) -> list[tuple[str, str]]:
    """(label, value) of the sizes offered: the model's own first."""
    if not size_px:
        return [("the model's own", "")]
    sizes = [(w * size_px // 4, h * size_px // 4) for w, h in QUARTERS] if size_px % 4 == 0 else []
    return [(f"{size_px} × {size_px} (own)", ""), *((f"{w} × {h}", f"{w}x{h}") for w, h in sizes)]


def sampler_choices(workspace: Workspace, source: str) -> list[str]:
    """The samplers of the base's family."""
    try:
        return list(registry.family(find_base(source or "starter", workspace).family).card.samplers)
    except (StudioError, OSError):
        return list(registry.family(find_base("starter").family).card.samplers)


def base_choices(workspace: Workspace) -> list[tuple[str, str]]:
    """(label, value) of the bases: that of the adapter, the embedded ones, and what lies in the models folder."""
    found = sorted(p for p in workspace.models.iterdir() if not p.name.startswith(".")) if workspace.models.is_dir() else []
    return [("as the adapter", ""), *((name, name) for name in EMBEDDED_BASES), *((p.name, str(p)) for p in found)]


def defaults_of(run: Run) -> dict[str, Any]:
    """The settings of the run's own previews, so that the first pictures look like them."""
    preview = run.spec().preview
    told = {"prompt": preview.prompts[0] if preview.prompts else "", "negative": preview.negative}
    return told | {"seed": preview.seed, "steps": preview.steps, "guidance": preview.guidance, "sampler": preview.sampler}


def options(workspace: Workspace, name: str = "") -> dict[str, Any]:
    """All of the above for a run, by default the newest with an adapter."""
    runs = runs_with_adapter(workspace)
    run = find_run(workspace, name) if name else (runs[0] if runs else None)
    source = run.spec().base.source if run else "starter"
    size_px = native_size(workspace, source, run)
    return {
        "run": run.id if run else None,
        "adapters": [{"run": r.id, "base": _source(r), "state": r.status()["state"], "chosen": chosen(r).get("step")} for r in runs],
        "snapshots": scored_snapshots(run) if run else [],
        "samplers": sampler_choices(workspace, source),
        "size_px": size_px,
        "sizes": [value or None for _, value in size_choices(size_px)],
        "text": reads_text(source, workspace),
        "defaults": defaults_of(run) if run else None,
    }


def _source(run: Run) -> str | None:
    try:
        return run.spec().base.source
    except StudioError:
        return None


def describe(workspace: Workspace, drawing: Drawing, texts: dict[str, bool] | None = None) -> dict[str, Any]:
    """A drawing as the page shows it: request, state, and, once finished, its pictures with their addresses.

    `texts` remembers, from one drawing to the next, which bases read text.
    """
    status = drawing.status()
    told = {"id": drawing.id, "request": drawing.request().model_dump(), "created": status.get("created")}
    texts, source = {} if texts is None else texts, told["request"]["base"]
    if source not in texts:
        texts[source] = reads_text(source, workspace)
    told["text"] = texts[source]
    told |= {key: status.get(key) for key in ("state", "done", "total", "progress", "error", "note")}
    told["pictures"] = []
    if told["state"] == "finished":
        result = drawing.result()
        told["pictures"] = [p.model_dump() | {"url": picture_url(drawing, p.file)} for p in result["pictures"]]
        told["notes"] = result.get("notes", [])
    return told


def picture_url(drawing: Drawing, file: str) -> str:
    """Where the studio serves a picture of a drawing."""
    return f"/studio/drawings/{drawing.id}/pictures/{quote(file, safe='')}"


def changes_of(workspace: Workspace, request: Any) -> list[dict[str, float | None]]:
    """Per adapter of a request: step -> change of held-out loss in percent, for the labels of a row of snapshots."""
    told = []
    for use in request.adapters:
        try:
            told.append({str(s["step"]): s["change_percent"] for s in scored_snapshots(find_run(workspace, use.run))} if use.run else {})
        except StudioError:
            told.append({})
    return told


def preview_pictures(workspace: Workspace, name: str) -> dict[str, Any] | None:
    """The newest previews of a run, beside those of its base, in the form of a finished drawing; None where there are none."""
    run = find_run(workspace, name)
    base, adapted, step = [], [], 0
    for event in read_events(run.events)[0]:
        if event["kind"] == "preview" and isinstance(event.get("files"), list):
            if event.get("base"):
                base = event["files"]
            else:
                adapted, step = event["files"], event.get("step", 0)
    spec = run.spec().preview
    pictures = []
    for (prompt, seed), of_base, of_adapted in zip(spec.drawn(), base, adapted, strict=False):
        for kind, file in (("base", of_base), ("adapted", of_adapted)):
            url = f"/studio/runs/{quote(run.id)}/pictures/{quote(str(file))}"
            about = {"kind": kind, "adapter": 0 if kind == "adapted" else None, "strength": float(kind == "adapted"), "label": kind}
            pictures.append(
                about | {"file": str(file), "seed": seed, "prompt": prompt, "snapshot": step if kind == "adapted" else None, "url": url}
            )
    if not pictures:
        return None
    request = defaults_of(run) | {"adapters": [{"run": run.id, "snapshot": None, "strength": 1.0, "file": None, "label": ""}]}
    request |= {"base": "", "width": None, "height": None, "count": 1, "strip": "none", "strengths": []}
    told = {"id": f"preview-{run.id}", "preview": True, "state": "finished", "request": request, "pictures": pictures}
    return told | {"text": reads_text(run.spec().base.source, workspace)}
