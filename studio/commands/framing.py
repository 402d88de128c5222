"""Commands that say how pictures are framed for training, and show it."""

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from studio.console import DEFAULT, JsonOption, WorkspaceOption, answer, command
from studio.errors import StudioError, printable
from studio.store import Workspace, write_bytes

if TYPE_CHECKING:
    from studio.dataset.rows import Dataset, Row

SHEET_COLUMNS, SHEET_ROWS, SHEET_CELL_PX = 8, 4, 256  # per bucket; longer side of a picture
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A dataset.")]


def add_to(app: typer.Typer) -> None:
    """The commands of this file, as `dataset` commands."""
    app.command("edit")(dataset_edit)
    app.command("buckets")(dataset_buckets)
    app.command("domain")(dataset_domain)


@command
def dataset_edit(
    name: NameArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A picture of it, by its name there or the name it came with.")],
    crop: Annotated[
        str, typer.Option(metavar="L,T,R,B", help="Keep this part: shares of the sides (0.1,0,0.9,1), or px; all for all.")
    ] = "",
    focus: Annotated[
        str, typer.Option(metavar="X,Y", help="What stays in sight where a shape takes less: shares or px; none for none.")
    ] = "",
    turn: Annotated[int | None, typer.Option(metavar="DEGREES", help="Turned clockwise: 0, 90, 180 or 270.")] = None,
    mirror: Annotated[bool | None, typer.Option("--mirror/--no-mirror", help="Left and right exchanged.")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="First take back what was decided before.")] = False,
    mask: Annotated[str, typer.Option(metavar="FILE", help="A picture: white is trained, black left out; none removes the mask.")] = "",
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Decide how one picture is framed for training; its file stays as it is, and the change can be undone on the Dataset screen."""
    from studio.dataset.framing import Edit, describe_edit
    from studio.dataset.masks import set_mask
    from studio.dataset.reframe import set_edits
    from studio.dataset.rows import open_dataset

    place = Workspace.at(workspace)
    dataset = open_dataset(place, name)
    row = _find(dataset, file)
    values = (Edit() if reset else row.framing).model_dump()
    if crop:
        values["crop"] = None if crop == "all" else _shares("--crop", crop, row, 4)
    if focus:
        values["focus"] = None if focus == "none" else _shares("--focus", focus, row, 2)
    if turn is not None:
        if turn not in (0, 90, 180, 270):
            raise StudioError(f"--turn {turn}: must be 0, 90, 180 or 270")
        values["turns"] = turn // 90
    if mirror is not None:
        values["mirror"] = mirror
    edit = Edit.model_validate(values)
    if mask:
        set_mask(place, dataset.root.name, row.file, None if mask == "none" else Path(mask).expanduser())
    done = set_edits(place, dataset.root.name, {row.file: edit})
    said = {"file": row.file, "mask": dataset.mask_path(row).exists(), "edit": edit.model_dump(mode="json"), "undo": done["undo"]}
    words = [describe_edit(edit) or "as it is", "with a mask" if said["mask"] else ""]
    answer(said, as_json, f"{row.file}: {', '.join(filter(None, words))}" + ("" if done["count"] or mask else " (as before)"))


def _find(dataset: "Dataset", file: str) -> "Row":
    """The picture with this name, in the dataset or where it came from; StudioError unless it is exactly one."""
    found = [row for row in dataset.rows if row.file == file] or [row for row in dataset.rows if row.source == file]
    if len(found) == 1:
        return found[0]
    if found:
        raise StudioError(f"{printable(file)[:120]}: several pictures came under this name: {', '.join(row.file for row in found[:5])}")
    near = ", ".join(row.file for row in dataset.rows[:3])
    raise StudioError(f"{printable(file)[:120]} is not in {dataset.name}: its pictures are called {near} …")


def _shares(option: str, text: str, row: "Row", count: int) -> tuple[float, ...]:
    """`count` numbers as shares of the picture's sides; they are px where one is above 1. StudioError where they are no place in it."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != count or not all(re.fullmatch(r"\d{1,6}(\.\d{0,9})?|\.\d{1,9}", part) for part in parts):
        raise StudioError(
            f"{option} {printable(text)[:60]}: {count} numbers with commas between are needed, such as {'0.1,0,0.9,1'[: 2 * count + 3]}"
        )
    numbers = [float(part) for part in parts]
    if max(numbers) > 1:
        numbers = [number / side for number, side in zip(numbers, (row.width, row.height) * 2, strict=False)]
    if max(numbers) > 1:
        raise StudioError(f"{option} {text}: lies outside the picture, which is {row.width}x{row.height} px")
    return tuple(numbers)


@command
def dataset_buckets(
    name: NameArgument,
    size: Annotated[int | None, typer.Option(metavar="PX", help="Picture size of the base; else that of --base.", min=16, max=4096)] = None,
    base: Annotated[str, typer.Option(metavar="MODEL", help="Whose picture size and shapes are meant.")] = "starter",
    out: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Also draw a sheet of what will be trained.")] = None,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Say which shapes a dataset is trained in, how many pictures each takes, and what is cut away."""
    from studio.dataset.rows import open_dataset
    from studio.domains import defaults
    from studio.encode.plan import plan, summary
    from studio.models.bases import find_base
    from studio.spec import DataSpec

    place = Workspace.at(workspace)
    dataset = open_dataset(place, name)
    own, multiple = find_base(base, place).shape_px
    if not dataset.rows:
        raise StudioError(f"{dataset.name} has no pictures: add some first")
    data = DataSpec.model_validate(defaults(dataset.about) | {"crops": 1})
    planned = [each for each in plan(dataset.rows, size or own, multiple, data) if not each.is_lying]
    found = summary(planned)
    lines = [f"{b['width']:>5} x {b['height']:<5} {b['images']:>6} {_words(b)}" for b in found]
    if out:
        write_bytes(_png_path(out), _sheet(dataset, planned, found))
        lines.append(f"drawn to {out}")
    answer({"size_px": size or own, "buckets": found, "out": str(out) if out else None}, as_json, "\n".join(lines))


def _words(bucket: dict[str, Any]) -> str:
    """A shape's pictures, what they lose, and how far they are enlarged, in words."""
    said = [
        "picture" if bucket["images"] == 1 else "pictures",
        f", {bucket['cut_percent']:.0f} % cut away",
        f" ({bucket['most_cut_percent']:.0f} % of the one that loses most)"
        if bucket["most_cut_percent"] >= bucket["cut_percent"] + 1
        else "",
        f"; {bucket['enlarged']} enlarged, up to {bucket['most_enlarged']:.1f} times" if bucket["enlarged"] else "",
    ]
    return "".join(said)


def _png_path(out: Path) -> Path:
    if out.suffix.lower() != ".png":
        raise StudioError(f"--out {printable(str(out))}: a file whose name ends with .png is needed")
    return out.expanduser()


def _sheet(dataset: "Dataset", planned: list[Any], buckets: list[dict[str, Any]]) -> bytes:
    """PNG: for each bucket its first pictures, as they are trained."""
    from PIL import Image

    from studio.dataset.framing import render
    from studio.dataset.stored import open_image
    from studio.sample.pictures import PAPER, make_grid

    parts = []
    for bucket in buckets:
        members = [each for each in planned if each.bucket == (bucket["width"], bucket["height"])][: SHEET_COLUMNS * SHEET_ROWS]
        pictures = [render(open_image(dataset.path(each.row)), each.frames[0]) for each in members]
        for picture in pictures:
            picture.thumbnail((SHEET_CELL_PX, SHEET_CELL_PX))
        rows = [pictures[start : start + SHEET_COLUMNS] for start in range(0, len(pictures), SHEET_COLUMNS)]
        label = f"{bucket['width']} x {bucket['height']} px: {bucket['images']} in all, {bucket['cut_percent']:.0f} % cut away"
        parts.append(make_grid(rows, [label, *[""] * (len(rows) - 1)]))
    sheet = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), PAPER)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    data = io.BytesIO()
    sheet.save(data, "PNG")
    return data.getvalue()


@command
def dataset_domain(
    name: NameArgument,
    domain: Annotated[str, typer.Argument(metavar="[DOMAIN]", help="What the pictures show; none for nothing in particular.")] = "",
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Say what the pictures show, which decides how they are augmented unless you say otherwise; without DOMAIN, list what there is."""
    from studio.dataset.about import set_domain
    from studio.dataset.rows import open_dataset
    from studio.domains import DOMAINS

    place = Workspace.at(workspace)
    dataset = open_dataset(place, name)
    now = str(dataset.about.get("domain", ""))
    if domain:
        now = set_domain(place, dataset.root.name, "" if domain == "none" else domain)
        text = (
            f"{dataset.name}: {DOMAINS[now].title}; {DOMAINS[now].why}"
            if now
            else f"{dataset.name}: nothing in particular, nothing is changed"
        )
    else:
        text = "\n".join(f"{'*' if key == now else ' '} {key:14} {each.title}: {each.why}" for key, each in DOMAINS.items())
    answer({"dataset": dataset.root.name, "domain": now}, as_json, text)
