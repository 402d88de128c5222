"""launch.py, run as people run it: real environments and a real pip, tiny local packages, a stand-in for studio.cli."""

import ast
import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import zipfile
from pathlib import Path

import pytest

import launch

ROOT = Path(launch.ROOT)
CLI = """
import importlib.metadata, json, os, sys
versions = {dist.name: dist.version for dist in importlib.metadata.distributions()}
facts = {"args": sys.argv[1:], "prefix": sys.prefix, "cwd": os.getcwd(), "versions": versions, "path": os.environ.get("PYTHONPATH")}
print(json.dumps(facts))
sys.exit(7 if "fail" in sys.argv else 0)
"""
UV = """
import os, sys
print(*sys.argv[1:], file=open(os.environ["FAKE_UV_CALLS"], "a"))
if "bogus1" in sys.argv:
    sys.exit("error: invalid value 'bogus1' for '--torch-backend <TORCH_BACKEND>'\\n  [possible values: auto, cpu]")
if "cu128" in sys.argv:
    sys.exit("error: Request failed after 3 retries in 7.2s\\n  cause: error sending request for url\\n  cause: dns error")
"""
posix = pytest.mark.skipif(os.name == "nt", reason="signals and modes of POSIX")


def make_wheel(folder, name, version, code=""):
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": "",
        f"{name}/__main__.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
        wheel.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]))


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheels")
    for name, version, code in [("tiny", "1.0", ""), ("tiny", "2.0", ""), ("extra", "1.0", ""), ("uv", "0.9.5", UV)]:
        make_wheel(folder, name, version, code)
    return folder


class Home:
    """A folder with launch.py in it, and the environment in which it is started."""

    def __init__(self, folder, wheels):
        self.folder, self.venv, self.python = folder, folder / ".venv", folder / Path(launch.PYTHON).relative_to(ROOT)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "PYTHON"))}
        self.env = clean | {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheels.as_uri(), "PIP_RETRIES": "1"}
        self.env["FAKE_UV_CALLS"] = str(folder / "uv.log")

    def write(self, name, text):
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text, encoding="utf-8")

    def popen(self, *args, prefix=(), python=sys.executable, **env):
        command = [*prefix, python, str(self.folder / "launch.py"), *args]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
        return subprocess.Popen(command, env=self.env | env, cwd=self.folder.parent, start_new_session=True, **pipes)

    def start(self, *args, **options):
        process = self.popen(*args, **options)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err, err
        return process.returncode, json.loads(out) if out.startswith("{") else out, err

    def refuse(self, *args, **options):
        """Start, expecting refusal; returns its one line."""
        code, out, err = self.start(*args, **options)
        assert (code, out) == (2, ""), (code, out, err)
        lines = err.splitlines()
        assert [line for line in lines if line.startswith("Domain Studio cannot start: ")] == lines[-1:], err
        return lines[-1]

    @property
    def stamp(self):
        return json.loads((self.venv / "installed.json").read_text())


def make_home(folder, wheels):
    home = Home(folder, wheels)
    home.write("requirements.txt", "tiny==1.0\n")
    home.write("tests/requirements.txt", "extra==1.0\n")
    home.write("studio/__init__.py", "")
    home.write("studio/cli.py", CLI)
    shutil.copy(ROOT / "launch.py", folder)
    return home


@pytest.fixture
def fresh(tmp_path, wheels):
    """A clone nobody has started yet, in an awkward place."""
    return make_home(tmp_path / "my Stüdio [1]", wheels)


@pytest.fixture(scope="session")
def first(tmp_path_factory, wheels):
    """The first start of a clone: the home and what that start gave."""
    home = make_home(tmp_path_factory.mktemp("first") / "my Stüdio [1]", wheels)
    return home, home.start("train", "a b", "--x=ü", "--", "--torch-backend", "fail")


@pytest.fixture
def home(first, tmp_path, wheels):
    """A clone that has been started before, since then moved elsewhere as a whole."""

    def copy(source, target):  # packages are replaced, never written to, and many
        (os.link if "site-packages" in source else shutil.copy2)(source, target)

    shutil.copytree(first[0].folder, tmp_path / "moved Stüdio", symlinks=True, copy_function=copy)
    return Home(tmp_path / "moved Stüdio", wheels)


@contextlib.contextmanager
def stalled_index():
    """A package index that answers only once released: (its address, asked, release)."""
    asked, release = threading.Event(), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.set()
            release.wait(60)
            with contextlib.suppress(OSError):
                self.send_error(404)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple", asked, release
    finally:
        release.set()
        server.shutdown()
        server.server_close()


def test_first_start_installs_and_hands_over(first):
    home, (code, seen, err) = first
    assert code == 7
    assert seen["args"] == ["train", "a b", "--x=ü", "--", "--torch-backend", "fail"]
    assert Path(seen["prefix"]) == home.venv and Path(seen["cwd"]) == home.folder.parent
    assert seen["versions"]["tiny"] == "1.0" and "extra" not in seen["versions"]
    assert "Installing collected packages" in err and "Ready" in err
    assert "tiny-1.0" in (home.venv / "install.log").read_text(encoding="utf-8")


def test_second_start_touches_nothing_even_after_a_move(home):
    shutil.rmtree(next(home.venv.glob("[Ll]ib*/**/site-packages/pip")))  # so that no installer could run
    before = {path: path.stat().st_mtime_ns for path in home.venv.iterdir()}
    code, seen, err = home.start()
    assert (code, seen["args"], err) == (0, [], "")
    assert before == {path: path.stat().st_mtime_ns for path in home.venv.iterdir()}


def test_nothing_leaks_in_from_the_caller(home, tmp_path):
    (tmp_path / "studio").mkdir()
    (tmp_path / "studio" / "cli.py").write_text("raise SystemExit('the wrong studio')")
    code, seen, _ = home.start(PYTHONPATH=str(tmp_path))
    assert (code, seen["path"]) == (0, None)


def test_changed_requirements_are_installed_again(home):
    home.write("requirements.txt", "tiny==2.0\n")
    assert home.start()[1]["versions"]["tiny"] == "2.0"
    assert home.start()[2] == ""


def test_tests_get_their_own_requirements(home):
    code, seen, _ = home.start("test", "-k", "fail")
    assert (code, seen["args"], seen["versions"]["extra"]) == (7, ["test", "-k", "fail"], "1.0")
    assert home.start("test")[2] == "" and home.start()[2] == ""


def test_interrupted_install_is_repaired(home):
    home.write(".venv/installed.json", json.dumps(home.stamp | {"files": {}}))
    shutil.rmtree(next(home.venv.glob("[Ll]ib*/**/tiny-1.0.dist-info")))
    assert home.start()[1]["versions"]["tiny"] == "1.0"


def test_broken_environment_is_made_anew(home):
    (home.venv / "stale").touch()
    home.python.unlink()
    code, seen, _ = home.start()
    assert (code, seen["versions"]["tiny"], (home.venv / "stale").exists()) == (0, "1.0", False)


@pytest.mark.parametrize("python", ["", "3.9"], ids=["creation interrupted", "interpreter upgraded"])
def test_environment_of_another_python_is_not_trusted(home, monkeypatch, python):
    monkeypatch.setattr(launch, "PYTHON", str(home.python))
    monkeypatch.setattr(launch, "VENV", str(home.venv))
    assert launch.is_ready(home.stamp, {}, None)
    assert not launch.is_ready(home.stamp | {"python": python}, {}, None)


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
def test_next_start_waits_for_the_installer_of_a_killed_one(home):
    home.write("requirements.txt", "tiny==2.0\nmissing\n")
    with stalled_index() as (index, asked, release):
        killed = home.popen(PIP_NO_INDEX="0", PIP_INDEX_URL=index)
        assert asked.wait(30)
        killed.kill()
        killed.communicate(timeout=30)
        home.write("requirements.txt", "tiny==2.0\n")
        second = home.popen()
        assert "waiting" in second.stderr.readline()
        release.set()
        out, _ = second.communicate(timeout=60)
    assert json.loads(out)["versions"]["tiny"] == "2.0"


@posix
def test_ctrl_c_stops_without_a_traceback(home):
    home.write("requirements.txt", "missing\n")
    with stalled_index() as (index, asked, _):
        process = home.popen(PIP_NO_INDEX="0", PIP_INDEX_URL=index)
        assert asked.wait(30)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith("Stopped") and "Traceback" not in err
    home.write("requirements.txt", "tiny==1.0\n")
    assert home.start()[0] == 0


def test_no_network_is_one_line(home):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        home.write("requirements.txt", "missing\n")
        line = home.refuse(PIP_NO_INDEX="0", PIP_INDEX_URL=f"http://127.0.0.1:{closed.getsockname()[1]}/simple")
    assert "out of reach" in line and "install.log" in line


def test_missing_version_is_one_line(home):
    home.write("requirements.txt", "tiny==9.0\n")
    assert "no build of tiny==9.0 fits" in home.refuse()
    home.write("requirements.txt", "tiny==1.0\n")
    assert home.start()[0] == 0


def test_missing_requirements_file_is_one_line(home):
    (home.folder / "requirements.txt").unlink()
    assert "requirements.txt" in home.refuse()


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


def test_backend_is_chosen_by_uv_and_remembered(home):
    log = Path(home.env["FAKE_UV_CALLS"])
    code, seen, _ = home.start("--torch-backend", "cpu", "doctor")
    assert (code, seen["args"]) == (0, ["doctor"])
    assert log.read_text().endswith("--torch-backend cpu -r requirements.txt --reinstall-package torch\n")
    assert home.start("--torch-backend=cpu")[2] == "" and home.start()[2] == ""
    home.write("requirements.txt", "tiny==2.0\n")
    assert home.start()[0] == 0
    assert log.read_text().splitlines()[1].endswith("--torch-backend cpu -r requirements.txt")


def test_unreachable_backend_falls_back_to_pip(home):
    home.write("requirements.txt", "tiny==2.0\n")
    code, seen, err = home.start("--torch-backend", "cu128")
    assert (code, seen["versions"]["tiny"], home.stamp["backend"]) == (0, "2.0", None)
    assert "without --torch-backend cu128" in err
    assert home.start()[2] == ""


def test_unknown_backend_is_one_line(home):
    assert "'bogus1' is no PyTorch backend" in home.refuse("--torch-backend", "bogus1")
    assert "needs a name" in home.refuse("train", "--torch-backend", "--set")


def test_help_installs_nothing(fresh, home):
    code, out, err = fresh.start("--help")
    assert (code, err, fresh.venv.exists()) == (0, "", False) and "--torch-backend" in out
    code, out, err = home.start("--help")
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
