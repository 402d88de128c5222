"""The commands about captions: by a captioner or a template; versions compared and picked; and their words."""

import shlex
from typing import Annotated

import typer

from studio import console
from studio.console import DEFAULT, JsonOption, WorkspaceOption, answer, command
from studio.errors import StudioError
from studio.store import Workspace

app = typer.Typer()
WITH = "Who writes the captions: embedded, template, a name that `captioners` lists, or a captioner's folder."
PROMPT = "What is asked, or how captions begin; or a domain: general, medical, satellite, microscopy, style, subject."
TEMPLATE = "Captions by a template: {trigger}, {name}, {folder}, and what is known of the pictures, as {modality} of {region}[, {view}]."


@app.command()
@command
def caption(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose pictures.")],
    captioner: Annotated[str, typer.Option("--with", metavar="CAPTIONER", help=WITH)] = "embedded",
    detail: Annotated[str, typer.Option(metavar="LEVEL", help="Of Florence-2: brief, detailed, long.")] = "",
    prompt: Annotated[str, typer.Option(metavar="TEXT", help=PROMPT)] = "",
    max_tokens: Annotated[int, typer.Option(metavar="N", help="No caption is longer; what runs on is cut at a sentence.")] = 128,
    recaption: Annotated[bool, typer.Option("--recaption", help="Also replace what captioners wrote; edits by hand stay.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also replace captions that exist, whoever wrote them.")] = False,
    threshold: Annotated[
        float | None, typer.Option(metavar="0..1", help="Below this confidence no caption or tag is written; empty = the captioner's own.")
    ] = None,
    character_threshold: Annotated[float | None, typer.Option(metavar="0..1", help="The same for characters, of taggers.")] = None,
    rating: Annotated[bool, typer.Option("--rating", help="Of taggers: the likeliest rating is a tag, too.")] = False,
    escape: Annotated[bool, typer.Option("--escape", help="Of taggers: brackets as prompts have them, \\( and \\).")] = False,
    template: Annotated[str | None, typer.Option(metavar="TEXT", help=TEMPLATE)] = None,
    versions: Annotated[
        str | None, typer.Option(metavar="FILE", help="Show every caption that this picture has had or was offered.")
    ] = None,
    picked: Annotated[
        str | None,
        typer.Option("--pick", metavar="SOURCE", help="Use this source's captions (hand, file, blip …): of --versions FILE, or of all."),
    ] = None,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Write captions of pictures that have none; what was there stays among the versions, and can be brought back."""
    from studio.dataset.captioning import caption_dataset, parse_request, select

    place = Workspace.at(workspace)
    if versions is not None or picked is not None:
        return compare(place, name, versions, picked, as_json)
    values = {
        "detail": detail, "prompt": prompt, "max_tokens": max_tokens, "recaption": recaption, "overwrite": overwrite,
        "threshold": threshold, "character_threshold": character_threshold, "rating": rating, "escape": escape,
    }  # fmt: skip
    if template is not None:
        if prompt or captioner not in ("embedded", "template"):
            raise StudioError("caption: --template is asked of no other captioner: leave --prompt, and --with BUT template, away")
        captioner, values["prompt"] = "template", template
    request = parse_request({"dataset": name, "captioner": captioner, **values})
    select(place, request)
    try:
        with console.progress("captioning") as update:
            told = caption_dataset(place, request, update)
    except KeyboardInterrupt:
        raise StudioError("interrupted: no caption was changed; what was looked at is kept, the same command goes on") from None
    answer(told, as_json, "\n".join(_lines(place, name, told)))


def compare(workspace: Workspace, name: str, file: str | None, source: str | None, as_json: bool) -> None:
    """Show the versions of one picture, or pick a source for it or for all."""
    from studio.dataset.picking import list_versions, pick

    if source is not None:
        told = pick(workspace, name, source, None if file is None else [file])
        lack = f"{told['lack']} without a version of it stay as they are" if told["lack"] else ""
        return answer(told, as_json, "\n".join(filter(None, [lack, told["text"]])))
    found = list_versions(workspace, name, file)
    lines = [f"{'*' if each['is_used'] else ' '} {each['source']}: {each['caption']}" for each in found]
    answer(found, as_json, "\n".join(lines) or "no versions yet: this picture has had no caption")


def _lines(workspace: Workspace, name: str, told: dict) -> list[str]:
    """What was done, what was not and why, and the next step."""
    from studio.dataset.captioning import unknown_line
    from studio.dataset.rows import open_dataset

    lines = [f"skipped {each['reason']}" for each in told["skipped"]]
    if told["unknown"]:
        text = "{trigger}, {name}" if open_dataset(workspace, name).about.get("trigger") else "{name}"
        way_out = f'python launch.py caption {shlex.quote(name)} --template "{text}"'
        lines.append(f"{unknown_line(told['captioner'], told['unknown'])}: write captions by a template, e.g. {way_out}")
    return [*lines, *told["notes"], told["text"]]


@app.command()
@command
def words(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose captions.")],
    tags: Annotated[bool, typer.Option("--tags", help="Count what stands between commas; else whichever the captions are.")] = False,
    trigger: Annotated[str | None, typer.Option(metavar="WORD", help="Keep this as the trigger word; empty = none.")] = None,
    class_noun: Annotated[str | None, typer.Option(metavar="NOUN", help="Keep this as the class noun; empty = none.")] = None,
    add: Annotated[bool, typer.Option("--add", help="Add trigger word and class noun to captions that lack them.")] = False,
    workspace: WorkspaceOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Count the words of the captions, and check whether trigger word and class noun are in them."""
    from studio.dataset import wording
    from studio.dataset.about import set_class_noun, set_trigger
    from studio.dataset.rows import open_dataset
    from studio.dataset.words import check_words, cloud

    place = Workspace.at(workspace)
    if class_noun is not None:
        set_class_noun(place, name, class_noun)
    if trigger is not None:
        set_trigger(place, name, trigger)
    about = open_dataset(place, name).about
    for operation in ("class_noun", "trigger") if add else ():
        if about.get(operation):
            wording.apply(place, name, wording.Wording(operation=operation))
    dataset = open_dataset(place, name)
    captions = [dataset.caption(row) for row in dataset.rows]
    found = cloud(captions, dataset.about, "tags" if tags else None) | {"checks": check_words(captions, dataset.about)}
    answer(found, as_json, "\n".join(_counted(found)))


def _counted(found: dict) -> list[str]:
    """The most frequent words with their counts, then what the checks have found."""
    lines = [f"{each['count']:6} {each['text']}{' (' + each['is'] + ')' if each['is'] else ''}" for each in found["entries"][:40]]
    for key, what in (("trigger", "trigger word"), ("class_noun", "class noun")):
        each = found["checks"][key]
        if each["word"]:
            num = each["has"] + each["lacks"]
            lines.append(
                f"{each['lacks']} of {num} captions lack the {what} {each['word']}" + (": add it by --add" if each["lacks"] else "")
            )
    return lines or ["no captions yet"]
