"""The application: our routes, the Gradio page with its tabs, mounted together."""

import errno
from importlib import import_module
from typing import Any

import gradio as gr
import jinja2
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from gradio import routes

from studio import __version__
from studio.errors import StudioError, one_line
from ui import api
from ui.desk import Desk
from ui.frame import QUIET, SCRIPTS, STATIC, VERSION, VERSIONED, take_on_show, widget
from ui.theme import theme

TABS = {"dataset": "Dataset", "train": "Train", "compare": "Compare", "runs": "Runs", "export": "Export", "models": "Models"}
AREAS = (
    "frame",
    "datasets",
    "captions",
    "framing",
    "imports",
    "runs",
    "run_table",
    "board",
    "judgements",
    "drawings",
    "exports",
    "captionings",
    "doctor",
    "class_pictures",
    "models",
    "readings",
)
QUEUE_PAUSE_S = 0.04
# The tab that was wished for last, at first that of the address. The studio is not asked: an answer that comes late would lead away from a
# tab opened since.
OPEN_TAB = f"""() => {{
  const frame = (window.studio ||= {{}}), tab = frame.tab;
  frame.isOpen = true;
  return {{ __type__: 'update', selected: {list(TABS)}.includes(tab) ? tab : 'dataset' }};
}}"""
# The address tells which tab is shown by now: events of tabs that were passed by come late.
TELL_TAB = """() => { setTimeout(() => {
  const shown = document.querySelector('#tabs [role=tab][aria-selected=true]')?.id.match(/^tab-(.+)-button$/);
  if (shown && window.studio?.isOpen) window.studio.place?.set({ tab: shown[1] });
}); }"""
FIRST = "<script>\n" + (STATIC / "first.js").read_text("utf-8") + "</script>"
HEAD = """<meta name="color-scheme" content="light dark">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="/studio/static/logo.svg">
<script>
(() => {  // before the first paint: the look chosen here last time
  const url = new URL(location.href), kept = localStorage.getItem('studio.look');
  window.studio = { tab: url.searchParams.get('tab') };
  if (kept && !url.searchParams.has('__theme')) { url.searchParams.set('__theme', kept); history.replaceState(null, '', url); }
})();
</script>"""


def build_app(desk: Desk) -> FastAPI:
    """The whole application of `desk`, without the guard that `ui.serve` puts around it."""
    app = FastAPI(title="Domain Studio", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.desk = desk
    for kind in (StudioError, OSError, RequestValidationError):
        app.add_exception_handler(kind, _tell)
    app.mount("/studio/static", _Static(directory=STATIC))
    for area in AREAS:
        app.include_router(import_module(f"ui.routes.{area}").router(desk), prefix="/studio")
    routes.templates.env.loader = _First(routes.templates.env.loader)
    return gr.mount_gradio_app(
        app,
        build_page(desk),
        path="/",
        theme=theme(),
        head=HEAD + _stylesheets(),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        allowed_paths=[],
        show_error=True,
        max_file_size="1kb",  # nothing is uploaded through Gradio
    )


class _First(jinja2.BaseLoader):
    """Gradio's page with our first script in it; what is given to Gradio as `head` is added only when it has started."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner.inner if isinstance(inner, _First) else inner  # the templates are one for all pages of a process

    def get_source(self, environment: Any, template: str) -> Any:
        source, *more = self.inner.get_source(environment, template)
        return source.replace("<head>", "<head>{% raw %}" + FIRST + "{% endraw %}", 1), *more


class _Static(StaticFiles):
    """Our scripts and styles: kept by the browser where the address tells their version, else asked for anew each time."""

    async def get_response(self, path: str, scope: Any) -> Any:
        version, _, rest = path.replace("\\", "/").partition("/")
        is_told = version == VERSION
        response = await super().get_response(rest if is_told or VERSIONED.fullmatch(version) else path, scope)
        response.headers["Cache-Control"] = "private, max-age=31536000, immutable" if is_told else "no-cache"
        return response


def _stylesheets() -> str:
    names = sorted(p.name for p in STATIC.glob("*.css"))
    names.sort(key=lambda name: name != "studio.css")  # the tokens first
    return "\n".join(f'<link rel="stylesheet" href="{SCRIPTS}/{name}">' for name in names)


async def _tell(request: Request, error: Exception) -> JSONResponse:
    """An error as one line: 400 for what was asked wrongly, 507 for a full disk, 500 for a disk that fails."""
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"error": f"{where or 'the request'}: {first['msg']}"[:500]}, 422)
    code = 400
    if isinstance(error, OSError):
        code = 507 if error.errno in (errno.ENOSPC, errno.EDQUOT) else 500
    return JSONResponse({"error": one_line(error)}, code)


def build_page(desk: Desk) -> gr.Blocks:
    """The page: status strip above, tabs in the order of the work."""
    take_on_show()
    with gr.Blocks(title="Domain Studio", fill_width=True, analytics_enabled=False) as page:
        api.register(desk)  # first: an event of the same name would take its name
        strip = widget("status_strip", events=("open_tab",))
        with gr.Tabs(elem_id="tabs", selected="dataset") as tabs:
            for key, label in TABS.items():
                with gr.Tab(label, id=key, elem_id=f"tab-{key}") as tab:
                    import_module(f"ui.tabs.{key}").build(desk)
                    for tie in take_on_show():  # here, for what it adds to the page is no tab
                        tie(tab.select)
                tab.select(None, js=TELL_TAB, **QUIET)
        for event in (strip.open_tab, page.load):
            event(None, None, tabs, js=OPEN_TAB, **QUIET)
    page.queue(default_concurrency_limit=16)
    queue = page._queue  # looks for work every millisecond, which takes 6 % of a core from whatever trains here
    queue.sleep_when_free = queue.progress_update_sleep_when_free = QUEUE_PAUSE_S
    return page
