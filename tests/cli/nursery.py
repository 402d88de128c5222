"""A process with the imports done that works on runs in forked children, each struck by a fault at a chosen storage operation.

Reads one JSON line per run, `{"run": FOLDER, "fault": "kill" | "full" | "", "at": N}`, and answers
`{"code": exit code or minus the signal, "operations": how many there were}`.
"""

import errno
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import accelerate  # noqa: F401
import diffusers  # noqa: F401
import peft  # noqa: F401
import torch  # noqa: F401
import transformers  # noqa: F401
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel  # noqa: F401

from studio.jobs import worker

OPERATIONS = ((os, "replace"), (os, "fsync"), (os, "truncate"), (os, "rename"), (os, "mkdir"), (os, "unlink"), (shutil, "rmtree"))


def haunt(fault: str, at: int, report: int) -> None:
    """Count the storage operations of this process, and strike before the one numbered `at` (from 0)."""
    count = 0

    def guard(real):
        def operation(*args, **options):
            nonlocal count
            count += 1
            os.pwrite(report, b"%08d" % count, 0)
            if count - 1 == at and fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if count - 1 == at and fault == "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **options)

        return operation

    for module, name in OPERATIONS:
        setattr(module, name, guard(getattr(module, name)))


def main() -> None:
    """Answer until the input ends."""
    report = os.memfd_create("operations")
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            log = os.open(Path(order["run"]) / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            haunt(order["fault"], order["at"], report)
            os._exit(worker.main(Path(order["run"])))
        _, status = os.waitpid(child, 0)
        answer = {"code": os.waitstatus_to_exitcode(status), "operations": int(os.pread(report, 8, 0) or 0)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
