"""The README is true: its tree names every file, its pictures exist, its commands are real."""

import re
from pathlib import Path

from typer.testing import CliRunner

from studio import registry
from studio.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def test_the_tree_names_every_file():
    named = set(re.findall(r"^\s+([\w.]+\.(?:py|js)) ", README, re.MULTILINE))
    there = {p.name for top in ("studio", "ui") for kind in ("*.py", "*.js") for p in (ROOT / top).rglob(kind)} - {"__init__.py"}
    assert there <= named, f"not in the tree: {sorted(there - named)}"
    assert named <= there | {"launch.py"}, f"no longer there: {sorted(named - there)}"


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
