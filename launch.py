"""Start Domain Studio: make .venv beside this file, install requirements.txt into it, hand over to studio.cli.

Standard library only, in a syntax that Python 2.7 can read: an old Python gets one clear line instead of a SyntaxError.
"""

import collections
import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time

if os.name == "nt":
    import msvcrt
else:
    import fcntl

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
WINDOWS = os.name == "nt"
PYTHON = os.path.join(VENV, "Scripts", "python.exe") if WINDOWS else os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, "installed.json")  # what is installed, written last
LOG = os.path.join(VENV, "install.log")  # everything the installers said
DOWNLOADS = os.path.join(VENV, "downloads")  # their temporary folder: the system's own is often too small for torch
LOCK = os.path.join(ROOT, ".venv.lock")
NOTHING = {"python": "", "backend": None, "files": {}}
HELP = """\
usage: python launch.py [--torch-backend NAME] [command ...]

The first start makes .venv beside launch.py and installs requirements.txt; delete .venv to start over.
  test                  install what the tests need as well and run them; what follows goes to pytest
  --torch-backend NAME  the build of PyTorch: auto, cpu, cu128, rocm6.3, ... (remembered; else PyPI's, for macOS and NVIDIA on Linux)
"""
TELLING = r"Collecting (\S+)|(Installing collected packages|(?:Prepared|Installed) \d+ package.*)"  # of what pip and uv say
SIGNS = (  # what went wrong, in the words of pip, uv and the system; the surest sign first
    ("disk", r"no space left|errno 28\b|os error (28|112)\b|winerror 112\b|not enough space|quota exceeded"),
    ("denied", r"permission denied|errno (1|13|30)\b|read-only file system|winerror (5|32)\b|os error (5|13|30|32)\b"),
    ("backend", r"invalid value '(?P<what>.*)' for '--torch-backend"),
    ("version", r"satisfies the requirement (?P<what>\S+)[^\n]*\(from versions: (?!none)"),
    ("certificate", r"certificate_verify_failed|sslerror|invalid peer certificate"),
    ("network", r"max retries|newconnection|connection ?(reset|refused|aborted|broken)|name.?resol|getaddrinfo|timed out|unreachable"),
    ("network", r"proxyerror|error sending request|request failed after|incompleteread"),
    ("version", r"(no matching distribution found for|no solution found[\s\S]*?no versions? of) (?P<what>[^\s,]+)"),
)
ADVICE = {
    "disk": "the disk is full: free some gigabytes where {root} lies, or make .venv there a link to a larger disk",
    "denied": "{root} cannot be written: move it to a place of your own, mend its permissions, or close what else uses its .venv",
    "backend": "'{what}' is no PyTorch backend: take auto, cpu, cu128, rocm6.3, ...",
    "version": "no build of {what} fits {platform} with Python {python}: try another 64-bit Python of 3.11 to 3.13, or --torch-backend",
    "certificate": "the certificate of the package index is not trusted: check the clock, or name your network's own in PIP_CERT",
    "network": "the package index is out of reach: check the network (PIP_INDEX_URL and HTTPS_PROXY, if yours needs them)",
    "other": "{what} (mend that, or delete {venv} to start over)",
}


class Failure(Exception):
    """What went wrong, where, and what to do, in one line for the user."""


def unsupported(version):
    """The reason why this Python cannot run Domain Studio, or None."""
    text = "it needs Python 3.11, 3.12 or 3.13 and this is {}.{} ({}): run 'python3.12 launch.py' ('py -3.12 launch.py' on Windows)"
    return None if (3, 11) <= tuple(version[:2]) <= (3, 13) else text.format(version[0], version[1], sys.executable)


def say(text):
    """Print a line of progress; standard output stays free for the command's own."""
    sys.stderr.write(text + "\n")


def split_options(argv):
    """Take launch's own option out of the arguments: (backend or None, all others unchanged)."""
    backend, rest, words = None, [], iter(argv)
    for word in words:
        if word == "--":
            rest += [word] + list(words)
        elif word.split("=")[0] == "--torch-backend":
            backend = word.split("=", 1)[1] if "=" in word else next(words, "")
            if not re.match(r"[a-z]+[0-9.]*$", backend):
                raise Failure("--torch-backend needs a name: auto, cpu, cu128, rocm6.3, ...")
        else:
            rest.append(word)
    return backend, rest


def environment(**extra):
    """The caller's environment without what would make another interpreter's packages or settings leak into .venv."""
    leaks = ("PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")
    return dict({name: value for name, value in os.environ.items() if name not in leaks}, **extra)


def read_stamp():
    """What is installed: the Python of .venv, the backend of torch, a hash per requirements file; NOTHING if unknown."""
    try:
        with open(STAMP) as file:
            return dict(NOTHING, **json.load(file))
    except (OSError, ValueError, TypeError):
        return NOTHING


def write_stamp(stamp):
    """Replace the stamp in one step, so that it is never read half-written; returns it."""
    with open(STAMP + ".new", "w") as file:
        json.dump(stamp, file)
    os.replace(STAMP + ".new", STAMP)
    return stamp


def venv_python():
    """'3.11' if .venv has a working interpreter of its own, else None (missing, upgraded, of another machine)."""
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        os.stat(os.path.join(VENV, "pyvenv.cfg"))
        return subprocess.check_output([PYTHON, "-I", "-S", "-c", ask], stderr=subprocess.DEVNULL).decode().strip()
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None


def is_ready(stamp, hashes, backend):
    """True if these requirements are installed, with this backend, for the interpreter that .venv still has."""
    return hashes.items() <= stamp["files"].items() and backend in (None, stamp["backend"]) and stamp["python"] == venv_python()


def try_lock(handle):
    """Lock the open file, or return False if another process holds it."""
    try:
        if WINDOWS:
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


@contextlib.contextmanager
def locked():
    """Hold the right to change .venv; the system takes it back when this process and the installer it runs are gone."""
    with open(LOCK, "a") as handle:
        if not try_lock(handle):
            say("Another launch is setting up {}; waiting for it.".format(VENV))
            while not try_lock(handle):
                time.sleep(0.2)
        yield handle


@contextlib.contextmanager
def progress(title):
    """Show where an installer stands, on a terminal as one live line; yields the function that takes its output line by line."""
    now, start, done, live = [title], time.monotonic(), threading.Event(), sys.stderr.isatty()

    def note(line):
        found = re.match(TELLING, line)
        if found:
            now[0] = found.group(1) or found.group(2)
            live or say("  " + now[0])

    def tick():
        width = shutil.get_terminal_size().columns - 1
        while not done.wait(0.3):
            with contextlib.suppress(OSError):  # of a file that has just been moved
                mb = sum(os.stat(path).st_size for path in glob.glob(os.path.join(glob.escape(DOWNLOADS), "*", "*"))) / 1e6
                line = "  {:.0f} s{}: {}".format(time.monotonic() - start, ", {:.0f} MB".format(mb) if mb > 5 else "", now[0])
                sys.stderr.write("\r" + line[:width].ljust(width))
                sys.stderr.flush()
        sys.stderr.write("\r" + " " * width + "\r")

    ticker = threading.Thread(target=tick if live else done.wait, daemon=True)
    ticker.start()
    live or say("  " + title)
    try:
        yield note
    finally:
        done.set()
        ticker.join()


def run(command, title, lock, forgive=()):
    """Run an installer step, all it says going to the log; returns '' or, for the kinds of trouble to forgive, what to do."""
    heirs = () if WINDOWS else (lock.fileno(),)  # an installer that outlives us keeps the lock
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "pass_fds": heirs}
    settings = environment(PIP_USER="0", TMPDIR=DOWNLOADS)
    lines = collections.deque(maxlen=200)
    os.makedirs(DOWNLOADS, exist_ok=True)
    try:
        with open(LOG, "ab") as log, progress(title) as note, subprocess.Popen(command, cwd=ROOT, env=settings, **pipes) as child:
            log.write("\n{} {}\n".format(time.strftime("%Y-%m-%d %H:%M:%S"), command).encode("ascii", "backslashreplace"))
            try:
                for line in child.stdout:
                    log.write(line)
                    log.flush()
                    lines.append(line.decode("utf-8", "replace"))
                    note(lines[-1].rstrip())
            except BaseException:
                child.terminate()
                raise
    finally:
        shutil.rmtree(DOWNLOADS, ignore_errors=True)
    kind, advice = explain("exit code {}\n{}".format(child.returncode, "".join(lines))) if child.returncode else ("", "")
    if kind and kind not in forgive:
        raise Failure("{}; the full log is {}".format(advice, LOG))
    return advice


def explain(output):
    """(kind, what to tell the user) of a trouble, from the words of whoever met it."""
    facts = {"root": ROOT, "venv": VENV, "platform": sysconfig.get_platform(), "python": venv_python()}
    for kind, sign in SIGNS:
        found = re.search(sign, output, re.IGNORECASE)
        if found:
            return kind, ADVICE[kind].format(**dict(facts, **found.groupdict()))
    return "other", ADVICE["other"].format(what=output.strip().split("\n")[-1], **facts)


def create_venv(stamp, lock):
    """Make .venv anew and let it find studio/ from any directory; returns its stamp, which remembers the backend of the old one."""
    from importlib.util import find_spec

    base = getattr(sys, "_base_executable", None) or sys.executable
    for module in ("venv", "ensurepip"):
        if find_spec(module) is None:
            text = "{} lacks its module {}: install it (Debian, Ubuntu: apt install python{}.{}-venv)"
            raise Failure(text.format(base, module, *sys.version_info[:2]))
    os.makedirs(VENV, exist_ok=True)
    found = os.listdir(VENV)
    if found and "pyvenv.cfg" not in found and os.path.basename(STAMP) not in found:
        raise Failure("{} holds something else than a Python environment: move it away".format(VENV))
    write_stamp(dict(NOTHING, backend=stamp["backend"]))
    for entry in os.scandir(VENV):  # not the folder itself, it may be a link to another disk
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        elif entry.path != STAMP:
            os.remove(entry.path)
    run([base, "-I", "-m", "venv", "--without-pip", os.path.realpath(VENV)], "making the environment", lock)
    run([PYTHON, "-I", "-m", "ensurepip", "--default-pip"], "adding pip to it", lock)
    packages = sysconfig.get_path("purelib", "venv", {"base": VENV})
    with open(os.path.join(packages, "domain-studio.pth"), "w") as file:
        file.write(os.path.relpath(ROOT, packages) + "\n")
    return write_stamp(dict(NOTHING, backend=stamp["backend"], python=sysconfig.get_python_version()))


def install(names, backend, stamp, lock):
    """Install requirements files; returns the backend whose torch is there afterwards, None for PyPI's own build."""
    pip = [PYTHON, "-I", "-m", "pip", "--no-input", "--disable-pip-version-check", "install", "--progress-bar", "off"]
    files = [word for name in names for word in ("-r", name)]
    if backend:
        uv = [PYTHON, "-I", "-m", "uv", "pip", "install", "--python", PYTHON, "--torch-backend", backend] + files
        if backend != stamp["backend"] or not stamp["files"]:  # the torch that is there may be another build
            uv += ["--reinstall-package", "torch"]
        offline = ("network", "certificate")
        advice = run(pip + ["uv>=0.9,<1"], "fetching uv, which chooses the build of PyTorch", lock, offline)
        advice = advice or run(uv, "installing the packages with uv", lock, offline)
        if not advice:
            return backend
        say("Going on without --torch-backend {}, give it again later: {}.".format(backend, advice))
    run(pip + files, "installing the packages", lock)
    return None


def prepare(names, backend):
    """Make sure that .venv works and holds these requirements files; touches nothing when it does."""
    from pathlib import Path

    hashes = {name: hashlib.sha256(Path(ROOT, name).read_bytes()).hexdigest() for name in names}
    if is_ready(read_stamp(), hashes, backend):
        return
    with locked() as lock:
        stamp, start = read_stamp(), time.monotonic()
        if is_ready(stamp, hashes, backend):
            return
        say("Setting up Domain Studio in {}; the first time, the packages are large.".format(VENV))
        if stamp["python"] != venv_python():
            stamp = create_venv(stamp, lock)
        write_stamp(dict(stamp, files={}))
        backend = install(names, backend or stamp["backend"], stamp, lock)
        write_stamp(dict(stamp, backend=backend, files=hashes))
        say("Ready after {:.0f} s.".format(time.monotonic() - start))


def hand_over(args):
    """Become studio.cli: on POSIX this process itself, on Windows a child whose exit code is returned."""
    command = [PYTHON, "-P", "-m", "studio.cli"] + args  # -P: nothing is imported from whatever the current directory holds
    if not WINDOWS:
        os.execve(PYTHON, command, environment())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the child, which ends in its own way
    return subprocess.call(command, env=environment())


def main(argv):
    """Prepare .venv, then hand over; every expected trouble is one line and exit code 2."""
    try:
        problem = unsupported(sys.version_info)
        if problem:
            raise Failure(problem)
        backend, args = split_options(argv)
        if args[:1] in (["-h"], ["--help"]):
            sys.stdout.write(HELP)
            sys.stdout.flush()
            return hand_over(args) if read_stamp()["files"] else 0
        prepare(["requirements.txt"] + (["tests/requirements.txt"] if args[:1] == ["test"] else []), backend)
        return hand_over(args)
    except KeyboardInterrupt:
        say("Stopped. The same command goes on from here.")
        return 130
    except (Failure, EnvironmentError) as error:
        text = str(error) if isinstance(error, Failure) else explain(str(error))[1]
        say("Domain Studio cannot start: {}.".format(" ".join(text.split())))
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
