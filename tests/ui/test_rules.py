"""Rules of the screens that hold for every file: no markup from data, no truth in widgets, no torch, nothing from the network."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.syntax import imported

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sorted((ROOT / "ui").rglob("*.py"))
SCRIPTS = sorted((ROOT / "ui").rglob("*.js"))
STYLES = sorted((ROOT / "ui").rglob("*.css"))
MARKUP = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|DOMParser")
ABROAD = re.compile(r"(?:https?:)?//(?!www\.w3\.org/)[a-z0-9-]+\.[a-z]{2,}", re.IGNORECASE)
KEPT_IN_GRADIO = {
    "State",
    "BrowserState",
    "Image",
    "Gallery",
    "File",
    "UploadButton",
    "ImageEditor",
    "FileExplorer",
    "Video",
    "load",
    "DownloadButton",
}


def _names(paths):
    return [str(p.relative_to(ROOT)) for p in paths]


@pytest.mark.parametrize("path", SCRIPTS, ids=_names(SCRIPTS))
def test_scripts_make_no_markup_from_data(path):
    text = path.read_text("utf-8")
    assert not MARKUP.search(text), MARKUP.search(text)
    assert not ABROAD.search(text), ABROAD.search(text)
    assert len(text.splitlines()) <= 320


@pytest.mark.parametrize("path", STYLES, ids=_names(STYLES))
def test_styles_load_nothing_from_abroad(path):
    assert not ABROAD.search(path.read_text("utf-8"))


@pytest.mark.parametrize("path", PYTHON, ids=_names(PYTHON))
def test_pages_keep_no_truth_and_decode_nothing(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        assert not imported(node) & {"torch", "diffusers", "transformers", "peft", "PIL"}, f"{path}:{node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "gr":
            assert node.attr not in KEPT_IN_GRADIO, f"{path}:{node.lineno}: gr.{node.attr}"


@pytest.mark.parametrize("path", PYTHON, ids=_names(PYTHON))
def test_markup_components_get_no_built_texts(path):
    """`gr.HTML` comes from `frame.widget` alone; Markdown and HTML elsewhere only with a text that stands in the program."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)):
            continue
        if node.func.value.id != "gr" or node.func.attr not in {"HTML", "Markdown", "Warning", "Info", "Error"}:
            continue
        if node.func.attr == "HTML":
            assert path.name == "frame.py", f"{path}:{node.lineno}"
        elif node.func.attr == "Markdown":
            given = [*node.args[:1], *[k.value for k in node.keywords if k.arg == "value"]]
            assert all(isinstance(g, ast.Constant) for g in given), f"{path}:{node.lineno}"
        else:
            first = node.args[0]
            is_safe = isinstance(first, ast.Call) and isinstance(first.func, ast.Name) and first.func.id == "safe"
            assert is_safe or isinstance(first, ast.Constant), f"{path}:{node.lineno}: pass it through safe()"


def test_the_walk_finds_what_it_looks_for():
    assert len(PYTHON) > 12 and len(SCRIPTS) > 8
    assert MARKUP.search("element.innerHTML = caption") and ABROAD.search("fetch('https://fonts.example.com/x')")


def test_the_page_is_built_without_torch_and_without_files_beside_our_modules(tmp_path):
    code = (
        "import sys; from studio.store import Workspace; from ui.desk import Desk; from ui.app import build_app\n"
        "desk = Desk(Workspace.at(sys.argv[1])); build_app(desk); desk.close()\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'diffusers', 'transformers', 'peft')))"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert not list((ROOT / "ui").rglob("*.pyi"))


def test_the_waiting_queue_takes_nothing_from_a_run(tmp_path):
    """Gradio's own pause of a millisecond would keep a core busy at 6 %, for as long as the studio is open."""
    from studio.store import Workspace
    from ui.app import build_page
    from ui.desk import Desk

    queue = build_page(Desk(Workspace.at(tmp_path)))._queue
    assert min(queue.sleep_when_free, queue.progress_update_sleep_when_free) >= 0.02


def test_the_backend_does_not_know_the_screens():
    for path in sorted((ROOT / "studio").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            used = imported(node) & {"ui", "gradio"}
            assert not used or path.name == "ui.py", f"{path}:{node.lineno} imports {used}"


def test_the_page_knows_the_states_by_the_backends_words():
    from studio.jobs.processes.asked import OVER
    from studio.jobs.runs.folders import ALIVE

    text = (ROOT / "ui" / "widgets" / "static" / "states.js").read_text("utf-8")
    said = {name: set(re.findall(r"'(\w+)'", states)) for name, states in re.findall(r"export const (\w+) = new Set\(\[(.*)\]\)", text)}
    assert said == {"LIVING": set(ALIVE), "OVER": set(OVER)}


def test_scripts_import_what_there_is_and_use_it():
    exports = {
        p.name: set(
            re.findall(r"^export (?:default )?(?:async )?(?:function\*?|class|const|let) (\w+)", p.read_text("utf-8"), re.MULTILINE)
        )
        for p in SCRIPTS
    }
    for path in SCRIPTS:
        text = path.read_text("utf-8")
        for names, source in re.findall(r"^import \{([^}]*)\} from '\./([\w.]+)'", text, re.MULTILINE):
            for name in (each.split(" as ") for each in names.split(",") if each.strip()):
                assert name[0].strip() in exports[source], f"{path.name}: {source} has no {name[0].strip()}"
                assert len(re.findall(rf"\b{name[-1].strip()}\b", text)) > 1, f"{path.name}: {name[-1].strip()} is not used"


def test_functions_of_scripts_are_short():
    """Of about 60 lines, as in Python: what holds more together is a class with methods."""
    begins = re.compile(r"^( *)(?:export )?(?:static )?(?:async )?(?!if|for|while|switch|catch)(?:function\*? )?\w+\(.*\{$")
    for path in SCRIPTS:
        lines = path.read_text("utf-8").splitlines()
        for number, line in enumerate(lines):
            if found := begins.match(line):
                num_lines = next(i for i, end in enumerate(lines[number:], 1) if end.startswith(found[1] + "}"))
                assert num_lines <= 60, f"{path.name}:{number + 1}: {num_lines} lines"
