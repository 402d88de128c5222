"""launch.py, run as people run it: real environments and a real pip, tiny local packages, a stand-in for studio.cli."""

import ast
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import launch
from tests.fixtures.clone import ROOT, Clone, make_clone, make_wheels, stalled_index

posix = pytest.mark.skipif(os.name == "nt", reason="signals and modes of POSIX")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    return make_wheels(tmp_path_factory.mktemp("wheels"))


@pytest.fixture
def fresh(tmp_path, wheels):
    """A clone nobody has started yet, in an awkward place."""
    return make_clone(tmp_path / "my Stüdio [1]", wheels)


@pytest.fixture(scope="session")
def first(tmp_path_factory, wheels):
    """The first start of a clone: the clone and what that start gave."""
    clone = make_clone(tmp_path_factory.mktemp("first") / "my Stüdio [1]", wheels)
    return clone, clone.start("train", "a b", "--x=ü", "--", "--torch-backend", "fail")


@pytest.fixture
def clone(first, tmp_path, wheels):
    """A clone that has been started before, since then moved elsewhere as a whole."""
    source, target = first[0].folder, tmp_path / "moved Stüdio"
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("pip"))
    pip = next(source.glob(".venv/[Ll]ib*/**/site-packages/pip"))  # a thousand files that nothing changes
    (shutil.copytree if os.name == "nt" else os.symlink)(pip, target / pip.relative_to(source))
    return Clone(target, wheels)


def test_first_start_installs_and_hands_over(first):
    clone, (code, seen, err) = first
    assert code == 7
    assert seen["args"] == ["train", "a b", "--x=ü", "--", "--torch-backend", "fail"]
    assert Path(seen["prefix"]) == clone.venv and Path(seen["cwd"]) == clone.folder.parent
    assert seen["versions"]["tiny"] == "1.0" and "extra" not in seen["versions"]
    assert "Installing collected packages" in err and "Ready" in err
    assert "tiny-1.0" in (clone.venv / "install.log").read_text(encoding="utf-8")


def test_second_start_touches_nothing_even_after_a_move(clone):
    pip = next(clone.venv.glob("[Ll]ib*/**/site-packages/pip"))
    pip.rename(pip.with_name("gone"))  # no installer could run
    before = {path: path.stat().st_mtime_ns for path in clone.venv.iterdir()}
    code, seen, err = clone.start()
    assert (code, seen["args"], err) == (0, [], "")
    assert before == {path: path.stat().st_mtime_ns for path in clone.venv.iterdir()}


def test_nothing_leaks_in_from_the_caller(clone, tmp_path):
    (tmp_path / "studio").mkdir()
    (tmp_path / "studio" / "cli.py").write_text("raise SystemExit('the wrong studio')")
    code, seen, _ = clone.start(PYTHONPATH=str(tmp_path))
    assert (code, seen["path"]) == (0, None)


def test_windows_hands_over_to_a_child(clone, monkeypatch):
    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(launch, "WINDOWS", True)
    monkeypatch.setattr(launch, "PYTHON", str(clone.python))
    try:
        assert launch.hand_over(["train", "fail"]) == 7
    finally:
        signal.signal(signal.SIGINT, handler)


def test_changed_requirements_are_installed_again(clone):
    clone.write("requirements.txt", "tiny==2.0\n")
    assert clone.start()[1]["versions"]["tiny"] == "2.0"
    assert clone.start()[2] == ""


def test_tests_get_their_own_requirements(clone):
    code, seen, _ = clone.start("test", "-k", "fail")
    assert (code, seen["args"], seen["versions"]["extra"]) == (7, ["test", "-k", "fail"], "1.0")
    assert clone.start("test")[2] == "" and clone.start()[2] == ""


def test_interrupted_install_is_repaired(clone):
    clone.write(".venv/installed.json", json.dumps(clone.stamp | {"files": {}}))
    shutil.rmtree(next(clone.venv.glob("[Ll]ib*/**/tiny-1.0.dist-info")))
    assert clone.start()[1]["versions"]["tiny"] == "1.0"


def test_broken_environment_is_made_anew(clone):
    (clone.venv / "stale").touch()
    clone.python.unlink()
    code, seen, _ = clone.start()
    assert (code, seen["versions"]["tiny"], (clone.venv / "stale").exists()) == (0, "1.0", False)


@pytest.mark.parametrize("python", ["", "3.9"], ids=["creation interrupted", "interpreter upgraded"])
def test_environment_of_another_python_is_not_trusted(clone, monkeypatch, python):
    monkeypatch.setattr(launch, "PYTHON", str(clone.python))
    monkeypatch.setattr(launch, "VENV", str(clone.venv))
    assert launch.is_ready(clone.stamp, {}, None)
    assert not launch.is_ready(clone.stamp | {"python": python}, {}, None)


def test_foreign_folder_is_left_alone(fresh):
    fresh.write(".venv/thesis.txt", "years of work")
    assert "move it away" in fresh.refuse()
    assert (fresh.venv / "thesis.txt").read_text() == "years of work"


def test_two_first_starts_at_once(fresh):
    starts = [fresh.popen(), fresh.popen()]
    results = [start.communicate(timeout=120) for start in starts]
    assert [start.returncode for start in starts] == [0, 0], results
    assert sum("Setting up" in err for _, err in results) == 1
    assert all(json.loads(out)["versions"]["tiny"] == "1.0" for out, _ in results)


@posix
def test_next_start_waits_for_the_installer_of_a_killed_one(clone):
    clone.write("requirements.txt", "tiny==2.0\nmissing\n")
    with stalled_index() as (index, asked, release):
        killed = clone.popen(PIP_NO_INDEX="0", PIP_INDEX_URL=index)
        assert asked.wait(30)
        killed.kill()
        killed.communicate(timeout=30)
        clone.write("requirements.txt", "tiny==2.0\n")
        second = clone.popen()
        assert "waiting" in second.stderr.readline()
        release.set()
        out, _ = second.communicate(timeout=60)
    assert json.loads(out)["versions"]["tiny"] == "2.0"


@posix
def test_ctrl_c_stops_without_a_traceback(clone):
    clone.write("requirements.txt", "missing\n")
    with stalled_index() as (index, asked, _):
        process = clone.popen(PIP_NO_INDEX="0", PIP_INDEX_URL=index)
        assert asked.wait(30)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith("Stopped") and "Traceback" not in err
    clone.write("requirements.txt", "tiny==1.0\n")
    assert clone.start()[0] == 0


def test_no_network_is_one_line(clone):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        clone.write("requirements.txt", "missing\n")
        line = clone.refuse(PIP_NO_INDEX="0", PIP_INDEX_URL=f"http://127.0.0.1:{closed.getsockname()[1]}/simple")
    assert "out of reach" in line and "install.log" in line


def test_missing_version_is_one_line(clone):
    clone.write("requirements.txt", "tiny==9.0\n")
    assert "no build of tiny==9.0 fits" in clone.refuse()
    clone.write("requirements.txt", "tiny==1.0\n")
    assert clone.start()[0] == 0


def test_missing_requirements_file_is_one_line(clone):
    (clone.folder / "requirements.txt").unlink()
    assert "requirements.txt" in clone.refuse()


@posix
def test_full_disk_is_one_line(fresh, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        fresh.venv.symlink_to(disk)
        assert "disk is full" in fresh.refuse()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@posix
def test_read_only_folder_is_one_line(fresh):
    prefix = []
    if os.getuid() == 0:  # who may write anywhere, unless that capability is dropped
        prefix = ["setpriv", "--bounding-set", "-dac_override"]
        if not shutil.which("setpriv") or subprocess.run([*prefix, "true"], capture_output=True).returncode:
            pytest.skip("root ignores modes here")
    fresh.folder.chmod(0o555)
    try:
        assert "cannot be written" in fresh.refuse(prefix=prefix)
    finally:
        fresh.folder.chmod(0o755)


@posix
@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_python_without_venv_is_one_line(fresh, tmp_path, module):
    base = Path(sys._base_executable).resolve()
    stdlib = Path(sysconfig.get_path("stdlib"))
    crippled = tmp_path / "crippled"
    (crippled / "bin").mkdir(parents=True)
    (crippled / "lib" / stdlib.name).mkdir(parents=True)
    shutil.copy(base, crippled / "bin" / base.name)
    for entry in stdlib.iterdir():
        if entry.name not in (module, "site-packages", "__pycache__"):
            (crippled / "lib" / stdlib.name / entry.name).symlink_to(entry)
    python = str(crippled / "bin" / base.name)
    if subprocess.run([python, "-c", f"import sys, json; assert sys.prefix == {str(crippled)!r}"], capture_output=True).returncode:
        pytest.skip("this Python does not run from another folder")
    line = fresh.refuse(python=python)
    assert f"lacks its module {module}" in line and "-venv" in line


def other_pythons():
    """Interpreters on this machine that launch.py must refuse."""
    names = [shutil.which(f"python{version}") for version in ("2.7", "3.6", "3.8", "3.10", "3.14")]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    names += [root / name / "bin" / "python" for name in os.listdir(root)] if root.is_dir() else []
    ask = "import sys; sys.exit((3, 11) <= sys.version_info[:2] <= (3, 13))"
    return [str(name) for name in names if name and not subprocess.run([name, "-c", ask], capture_output=True).returncode]


@pytest.mark.parametrize("python", other_pythons())
def test_unsupported_python_is_one_line(fresh, python):
    line = fresh.refuse(python=python)
    assert "3.11, 3.12 or 3.13" in line and not fresh.venv.exists()


def test_supported_versions():
    assert [minor for minor in range(20) if launch.unsupported((3, minor, 0)) is None] == [11, 12, 13]
    assert "this is 2.7" in launch.unsupported((2, 7, 18))


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk"),
        ("error: Failed to extract archive\n  cause: failed to write (os error 28)", "disk"),
        ("ERROR: Could not install packages due to an OSError: [WinError 5] Zugriff verweigert: 'c10.dll'", "denied"),
        ("WARNING: Retrying (...) after connection broken by 'NewConnectionError('...: [Errno 111] Connection refused')'", "network"),
        ("pip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool(host='index'): Read timed out.", "network"),
        ("NewConnectionError\nERROR: Could not find a version that satisfies the requirement torch==2 (from versions: none)", "network"),
        ("NewConnectionError\nERROR: Could not find a version that satisfies the requirement torch==2 (from versions: 1.0)", "version"),
        ("ERROR: No matching distribution found for torch==2.13.0", "version"),
        ("error: No solution found when resolving\n  cause: Because there is no version of torch==2.13.0 and you require it", "version"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed'))", "certificate"),
        ("ERROR: ResolutionImpossible", "other"),
    ],
)
def test_explanations(said, kind):
    found, advice = launch.explain(said)
    assert found == kind and "{" not in advice and "\n" not in advice


def test_backend_is_chosen_by_uv_and_remembered(clone):
    log = Path(clone.env["FAKE_UV_CALLS"])
    code, seen, _ = clone.start("--torch-backend", "cpu", "doctor")
    assert (code, seen["args"]) == (0, ["doctor"])
    assert log.read_text().endswith("--torch-backend cpu -r requirements.txt --reinstall-package torch\n")
    assert clone.start("--torch-backend=cpu")[2] == "" and clone.start()[2] == ""
    clone.write("requirements.txt", "tiny==2.0\n")
    assert clone.start()[0] == 0
    assert log.read_text().splitlines()[1].endswith("--torch-backend cpu -r requirements.txt")


def test_unreachable_backend_falls_back_to_pip(clone):
    clone.write("requirements.txt", "tiny==2.0\n")
    code, seen, err = clone.start("--torch-backend", "cu128")
    assert (code, seen["versions"]["tiny"], clone.stamp["backend"]) == (0, "2.0", None)
    assert "without --torch-backend cu128" in err
    assert clone.start()[2] == ""


def test_unknown_backend_is_one_line(clone):
    assert "'bogus1' is no PyTorch backend" in clone.refuse("--torch-backend", "bogus1")
    assert clone.start()[0] == 0
    assert "needs a name" in clone.refuse("train", "--torch-backend", "--set")


def test_help_installs_nothing(fresh, clone):
    code, out, err = fresh.start("--help")
    assert (code, err, fresh.venv.exists()) == (0, "", False) and "--torch-backend" in out
    code, out, err = clone.start("--help")
    assert (code, err) == (0, "") and "--torch-backend" in out and '"args": ["--help"]' in out


def test_launch_needs_the_standard_library_only():
    tree = ast.parse((ROOT / "launch.py").read_text(encoding="ascii"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


@pytest.mark.parametrize("name", ["requirements.txt", "tests/requirements.txt"])
def test_requirements_are_pinned_with_a_reason(name):
    lines = (ROOT / name).read_text(encoding="ascii").splitlines()  # pip reads them in the encoding of the system
    for line in lines[1:]:
        requirement, reason = line.split("#")
        assert requirement.count("==") == 1 and len(reason.split()) > 1, line
