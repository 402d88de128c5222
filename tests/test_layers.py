"""Rooms import to the left only, and only `jobs` composes stages."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from studio import registry
from studio.recipes import list_recipes

ROOT = Path(__file__).parent.parent
ORDER = ["dataset", "encode", "train", "sample", "evaluate", "export", "jobs"]
SHARED = {
    "errors", "store", "trash", "registry", "spec", "device", "quiet", "families", "methods", "models", "settings", "overrides",
    "extras", "tower", "subject", "domains", "__init__", "__version__",
}  # fmt: skip
JOBS = {  # each room of jobs, and which others it may import; what lies in none of them puts them together
    "runs": set(),
    "plan": {"runs"},
    "processes": {"runs"},
    "training": {"runs", "processes"},
    "datasets": {"processes"},
    "models": {"processes"},
    "draw": {"runs", "processes"},
    "board": {"runs", "processes", "draw"},
    "export": {"runs", "processes", "draw"},
    "merge": {"runs", "processes", "draw"},
}
CHOICES = {"recipes", "method_cards"}  # what people choose among
FRONT = {"cli", "console", "commands", "doctor"}
NO_TORCH = [
    "studio.cli", "studio.spec", "studio.store", "studio.registry", "studio.models.bases", "studio.recipes", "studio.families.sd",
    "studio.methods.lora", "studio.methods.dora", "studio.methods.loha", "studio.methods.lokr", "studio.methods.oft",
    "studio.jobs.runs.folders", "studio.jobs.processes.supervisor", "studio.jobs.runs.create", "studio.dataset.intake",
    "studio.jobs.runs.metrics", "studio.jobs.plan.estimate", "studio.jobs.plan.planning",
    "studio.models.memory_plan", "studio.models.sizes", "studio.jobs.models.hub",
    "studio.jobs.datasets.reading", "studio.jobs.datasets.readings",
    "studio.jobs.draw.drawings", "studio.jobs.export.exports", "studio.jobs.board.table",
    "studio.jobs.board.export", "studio.method_cards", "studio.extras", "studio.dataset.looking", "studio.dataset.export",
    "studio.jobs.resident_client", "studio.dataset.captioning", "studio.dataset.picking",
]  # fmt: skip


def _files():
    return sorted((ROOT / "studio").rglob("*.py"))


def _room(path):
    parts = path.relative_to(ROOT / "studio").parts
    return parts[0] if len(parts) > 1 else path.stem


def _imports(path, package="studio"):
    """What a file imports from a package, by its name in there: a room or a module."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and f"{node.module}.".startswith(f"{package}."):
            rest = node.module.removeprefix(package).removeprefix(".")
            yield from [rest.partition(".")[0]] if rest else [a.name for a in node.names]
        elif isinstance(node, ast.Import):
            yield from [a.name.removeprefix(f"{package}.").partition(".")[0] for a in node.names if a.name.startswith(f"{package}.")]


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_left(path):
    room = _room(path)
    for other in set(_imports(path)) - {room}:
        if room in SHARED:
            assert other in SHARED, f"{path} is shared by all rooms and must not import studio.{other}"
        elif room in ORDER:
            allowed = set(ORDER[: ORDER.index(room)]) | SHARED | (CHOICES if room == "jobs" else set())
            assert other in allowed, f"{path} imports studio.{other}, which lies to its right"
        elif room in CHOICES:
            assert other in SHARED | CHOICES | {"dataset"}, f"{path} imports studio.{other}"


@pytest.mark.parametrize("room", JOBS)
def test_rooms_of_jobs_import_only_what_they_rest_on(room):
    paths = sorted((ROOT / "studio" / "jobs" / room).glob("*.py"))
    assert len(paths) > 1
    for path in paths:
        assert set(_imports(path, "studio.jobs")) <= JOBS[room] | {room}, f"{path} imports more of jobs than {sorted(JOBS[room])}"


def _module(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_neither_files_nor_rooms_import_each_other_in_circles():
    """Types count as well: what can be named only with the other at hand is no part of its own."""
    paths = {_module(p): p for top in ("studio", "ui") for p in (ROOT / top).rglob("*.py")}
    files, rooms = {}, {}
    for module, path in paths.items():
        nodes = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.ImportFrom) and n.module]
        named = {f"{n.module}.{a.name}" if f"{n.module}.{a.name}" in paths else n.module for n in nodes for a in n.names}
        files[module] = named & set(paths) - {module}
        if path.is_relative_to(ROOT / "studio"):
            others = {_room(paths[name]) for name in files[module] if paths[name].is_relative_to(ROOT / "studio")}
            rooms.setdefault(_room(path), set()).update(others - {_room(path)})
    assert len(rooms["jobs"]) > 10 and len(files["studio.jobs.worker"]) > 10
    for graph in (files, rooms):
        TopologicalSorter(graph).prepare()  # CycleError names the circle


def test_the_walk_is_not_empty():
    assert len(_files()) > 50
    rooms = {_room(p) for p in _files()}
    assert rooms >= set(ORDER)
    assert {p.parent.name for p in (ROOT / "studio" / "jobs").glob("*/*.py")} == set(JOBS)
    assert not rooms - SHARED - set(ORDER) - FRONT - CHOICES - {"starter"}, "a new room: place it in ORDER"


def test_front_ends_can_import_them_without_torch():
    """One after the other, in one process: each is named that brings what is slow to import."""
    import subprocess
    import sys

    code = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
    code += "    assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules), name"
    ended = subprocess.run([sys.executable, "-c", code, *NO_TORCH], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_families_and_methods_are_told_apart_only_by_the_registry():
    """`if family == ...` anywhere is a defect: no key of a family, a method or a recipe is compared with one."""
    keys = {*registry.FAMILIES, *registry.METHODS, *list_recipes()}
    for path in [*_files(), *sorted((ROOT / "ui").rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Compare):
                names = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)} | {
                    n.id for n in ast.walk(node) if isinstance(n, ast.Name)
                }
                constants = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)}
                assert not (names & {"family", "kind", "key", "method", "recipe"} and constants & keys), f"{path}:{node.lineno}"
