"""Optional extras: told in one line when missing, installed by name with their pins, listed by the doctor."""

import re
from pathlib import Path

import pytest

from studio import extras
from studio.cli import app
from studio.doctor import examine
from studio.errors import StudioError
from studio.extras import EXTRAS, Extra

ROOT = Path(__file__).parent.parent
ABSENT = Extra("pictures of nothing", "there is no such package", ("domain-studio-absent==1.0",), "domain_studio_absent")


@pytest.fixture
def absent(monkeypatch):
    monkeypatch.setitem(EXTRAS, "absent", ABSENT)


def test_what_is_there_is_given_and_what_is_missing_names_the_line_to_run(absent):
    assert extras.need("dicom").__name__ == "pydicom" and extras.installed("dicom")
    assert not extras.installed("absent")
    with pytest.raises(StudioError) as told:
        extras.need("absent")
    assert str(told.value) == "pictures of nothing: the extra absent is not installed: install it with python launch.py install absent"


def test_an_extra_that_is_there_but_broken_is_told_from_a_missing_one(monkeypatch):
    monkeypatch.setitem(EXTRAS, "broken", Extra("broken things", "a test", ("pydicom==3.0.2",), "domain_studio_absent"))
    with pytest.raises(StudioError, match="broken things: the extra broken does not work here .*install broken"):
        extras.need("broken")


def test_every_extra_says_what_it_is_for_and_pins_its_packages():
    for name, each in EXTRAS.items():
        assert re.fullmatch(r"[a-z-]+", name) and each.what and each.reason and each.module, name
        assert each.pins and all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9a-z.]*", pin) for pin in each.pins), name


def test_what_the_tests_install_is_what_the_extras_pin():
    wanted = dict(re.findall(r"^(\S+)==(\S+)", (ROOT / "tests" / "requirements.txt").read_text("utf-8"), re.MULTILINE))
    pins = dict(pin.split("==") for each in EXTRAS.values() for pin in each.pins)
    shared = wanted.keys() & pins.keys()
    assert {"pydicom", "nibabel", "rasterio", "pyarrow"} <= shared
    assert all(wanted[name] == pins[name] for name in shared)


def test_installing_by_name_runs_pip_and_failures_are_one_line(absent, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    said = []
    extras.install(["dicom"], said.append)
    assert any("pydicom==3.0.2" in line for line in said)
    with pytest.raises(StudioError, match=r"install absent: pip failed \(.*domain-studio-absent.*\): check the network") as told:
        extras.install(["absent"], said.append)
    assert "\n" not in str(told.value)
    with pytest.raises(StudioError, match="there is no extra 'everything': there are dicom, "):
        extras.install(["dicom", "everything"], said.append)


def test_the_command_lists_them_and_so_does_the_doctor(tmp_path, absent):
    from typer.testing import CliRunner

    told = CliRunner().invoke(app, ["install"], env={"COLUMNS": "300"})
    assert told.exit_code == 0
    lines = {line.split()[1]: line.split()[0] for line in told.output.splitlines()}
    assert lines["dicom"] == "ok" and lines["absent"] == "--"
    found = next(check for check in examine(tmp_path / "workspace")["checks"] if check["what"] == "optional extras")
    assert found["ok"] and "dicom" in found["found"] and "python launch.py install NAME: " in found["found"] and "absent" in found["found"]
