"""The command that starts the studio in the browser; also what happens without any command."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from studio.console import DEFAULT, WorkspaceOption, command, say

BrowserOption = Annotated[bool, typer.Option("--no-browser", help="Do not open a browser.")]
PortOption = Annotated[
    int, typer.Option(metavar="PORT", min=0, max=65535, help="Where to listen; the next free one where it is taken; 0 = any.")
]
HostOption = Annotated[str, typer.Option(metavar="ADDRESS", help="Listen on another address than this machine's own; needs a login.")]
AuthOption = Annotated[
    str,
    typer.Option(
        "--auth",
        metavar="USER:PASS",
        envvar="DOMAIN_STUDIO_AUTH",
        show_envvar=False,
        help="Ask for this name and password. Other users of this machine see it in the list of processes, but not DOMAIN_STUDIO_AUTH.",
    ),
]
TokenOption = Annotated[bool, typer.Option("--token", help="Ask for a token, made new and shown once (your own: DOMAIN_STUDIO_TOKEN).")]
AllowOption = Annotated[
    list[str] | None, typer.Option("--allow-host", metavar="NAME", help="Answer under this name too, for a proxy; may be repeated.")
]

app = typer.Typer()


@command
def start(
    workspace: Path = DEFAULT,
    no_browser: bool = False,
    port: int = 7860,
    host: str = "127.0.0.1",
    auth: str = "",
    token: bool = False,
    allow_host: list[str] | None = None,
) -> int:
    """Serve the studio until Ctrl-C."""
    from ui.serve import Options, new_token, serve

    secret = os.environ.pop("DOMAIN_STUDIO_TOKEN", "")
    os.environ.pop("DOMAIN_STUDIO_AUTH", None)  # runs started from here need not know them
    options = Options(workspace, host, port, not no_browser, auth, secret or (new_token() if token else ""), tuple(allow_host or ()))
    code = serve(options, say)
    sys.stdout.flush()
    os._exit(code)  # all is written; the interpreter's own end can wait for threads that libraries have left behind


@app.command("ui")
def ui(
    no_browser: BrowserOption = False,
    port: PortOption = 7860,
    host: HostOption = "127.0.0.1",
    auth: AuthOption = "",
    token: TokenOption = False,
    allow_host: AllowOption = None,
    workspace: WorkspaceOption = DEFAULT,
) -> None:
    """Start the studio in the browser (the same as no command at all)."""
    start(workspace, no_browser, port, host, auth, token, allow_host)


def main(
    context: typer.Context,
    no_browser: BrowserOption = False,
    port: PortOption = 7860,
    host: HostOption = "127.0.0.1",
    auth: AuthOption = "",
    token: TokenOption = False,
    allow_host: AllowOption = None,
    workspace: WorkspaceOption = DEFAULT,
) -> None:
    """Adapt a pretrained diffusion model to a small domain, compare it with its base, export it verified.

    Without a command: the studio in the browser, with the options below.
    """
    if context.invoked_subcommand is None:
        return start(workspace, no_browser, port, host, auth, token, allow_host)
    for name in context.params:
        source = context.get_parameter_source(name)
        if source and source.name == "COMMANDLINE":
            option = "--" + name.replace("_", "-")
            raise typer.BadParameter(f"{option} before {context.invoked_subcommand} is for the studio in the browser: put it behind")
