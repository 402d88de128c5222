"""The command that installs optional extras, by name."""

from typing import Annotated

import typer

from studio import extras
from studio.console import JsonOption, answer, command, say

app = typer.Typer()
_NAMES = ", ".join(extras.EXTRAS)


@app.command("install")
@command
def install(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help=f"One or more of: {_NAMES}.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Install optional extras into the studio's environment; without a name, list them."""
    if names:
        extras.install(names, say)
    rows = [
        {"extra": name, "installed": extras.installed(name), "what": each.what, "reason": each.reason, "packages": list(each.pins)}
        for name, each in extras.EXTRAS.items()
        if not names or name in names
    ]
    lines = [f"{'ok ' if r['installed'] else '-- '} {r['extra']:13} {r['what']}: {' '.join(r['packages'])} ({r['reason']})" for r in rows]
    answer(rows, as_json, "\n".join(lines))
