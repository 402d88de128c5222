"""A process with the slow imports done and no device touched, that becomes a run or the resident: `python -m studio.jobs.spare`.

It waits for one line on its standard input: {"run": folder, "log": file, "queued": bool} or {"resident": workspace}.
When the input ends without one, it ends.
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path

from studio import quiet
from studio.jobs.processes import libraries

MODULES = ("studio.dataset.decode", "studio.jobs.draw.adapted", "studio.jobs.export.exporting", "studio.jobs.worker")


def main() -> int:
    """Import, wait for the line, become what it says."""
    quiet.silence()
    libraries.load()
    for name in MODULES:
        import_module(name)
    line = sys.stdin.buffer.readline()
    if not line:
        return 0
    said = json.loads(line)
    if "resident" in said:
        from studio.jobs import resident

        return resident.main(Path(said["resident"]))
    return _run(Path(said["run"]), Path(said["log"]), said["queued"])


def _run(folder: Path, log: Path, queued: bool) -> int:
    """Work on the run as a process of its own would: output in its log, nothing to read."""
    from studio.jobs import worker

    handle, nothing = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (handle, 1), (handle, 2)):
        os.dup2(source, target)
    return worker.main(folder, queued)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # all is written; taking the libraries down properly would only cost seconds
