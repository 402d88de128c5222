"""The README is true: its tree names every file, its pictures exist, its commands are real."""

import ast
import re
from pathlib import Path

from typer.testing import CliRunner

from studio import registry
from studio.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def tree():
    """{path: what the tree says of it} of every file that the tree names."""
    lines = README[README.index("    launch.py  ") :].partition("\n\n")[0].splitlines()
    said, folders = {}, []
    for indent, name, text in (re.match(r"( +)(\S+) *(.*)", line).groups() for line in lines):
        folders = [folder for folder in folders if folder[0] < len(indent)]
        path = "".join(folder[1] for folder in folders) + name
        folders += [(len(indent), name)] if name.endswith("/") else []
        said |= {} if name.endswith("/") else {path: text}
    return said


def first_line(path):
    """What a file says of itself first."""
    text = path.read_text("utf-8")
    return ast.get_docstring(ast.parse(text)).splitlines()[0] if path.suffix == ".py" else text.splitlines()[0].removeprefix("//").strip()


def test_the_tree_names_every_file_as_it_names_itself():
    files = {p for top in ("studio", "ui") for kind in ("*.py", "*.js") for p in (ROOT / top).rglob(kind) if p.name != "__init__.py"}
    there, said = {p.relative_to(ROOT).as_posix(): first_line(p) for p in files | {ROOT / "launch.py"}}, tree()
    assert not there.keys() - said.keys(), f"not in the tree: {sorted(there.keys() - said.keys())}"
    assert not said.keys() - there.keys(), f"no longer there: {sorted(said.keys() - there.keys())}"
    assert not {path: text for path, text in said.items() if not there[path].startswith(text)}


def test_it_names_every_base_model():
    table = README[README.index("### Base models") : README.index("### The same without a browser")]
    for key in registry.FAMILIES:
        title = registry.family(key).card.title
        assert all(word in table for word in re.findall(r"[A-Z][A-Za-z]+|[A-Z]+-?[A-Za-z]+", title)), title


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_its_commands_exist():
    used = set(re.findall(r"python launch\.py ([a-z]+)", README))
    assert {"train", "dataset", "sample", "export", "test"} <= used
    for command in used:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0, command


def test_its_options_exist():
    for command, words in re.findall(r"python launch\.py ([a-z]+(?: new)?) ([^#\n`]*)", README):
        told = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"}).output
        for option in re.findall(r"(?<!\S)--[a-z-]+", words):
            assert option in told or command.startswith("-"), f"{command} {option}"


def test_nothing_is_left_to_fill_in():
    assert "{{" not in README and "TODO" not in README
