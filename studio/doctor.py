"""What this machine can do, and what is amiss, in one list."""

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from studio import extras
from studio.errors import StudioError, one_line
from studio.store import Workspace

PACKAGES = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors", "pillow")
LOW_DISK_GIB = 2.0


def examine(workspace: Path) -> dict[str, Any]:
    """{"ok", "device", "checks": [{"what", "ok", "found", "advice"}]}; a check that is not ok says what to do."""
    checks = [_python(), _packages()]
    device = "none"
    try:
        device, check = _device()
    except Exception as error:
        check = _check("device", False, one_line(error), "install the requirements again: python launch.py")
    checks += [check, _unused_gpu(device), _plan(device), _workspace(workspace), _starter(), _extras()]
    return {"ok": all(c["ok"] for c in checks), "device": device, "checks": checks}


def _check(what: str, ok: bool, found: str, advice: str = "") -> dict[str, Any]:
    return {"what": what, "ok": ok, "found": found, "advice": advice}


def _python() -> dict[str, Any]:
    ok = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return _check("python", ok, f"{platform.python_version()} on {platform.platform()}", "use Python 3.11, 3.12 or 3.13")


def _packages() -> dict[str, Any]:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    text = ", ".join(found) + (f"; missing: {', '.join(missing)}" if missing else "")
    return _check("packages", not missing, text, "run python launch.py once more: it repairs the installation")


def _device() -> tuple[str, dict[str, Any]]:
    from studio.device import memory_gib, pick_device, pick_precision

    device = pick_device()
    used, total = memory_gib(device)
    precision = pick_precision(device, "auto")
    return device.type, _check(
        "device", True, f"{device}, {precision}, {total - used:.1f} of {total:.1f} GiB free, {os.cpu_count()} CPU cores"
    )


def _plan(device: str) -> dict[str, Any]:
    """What is done on this machine where a base is large for it."""
    from studio import extras

    quant = "bases in 8 or 4 bits where needed" if extras.installed("quant") else f"bases in full: for fewer bits, {extras.advice('quant')}"
    found = f"gradient checkpointing where needed, text encoders leave the GPU after caching, {quant}"
    return _check("memory plan", True, found if device == "cuda" else "gradient checkpointing where needed; all in the machine's memory")


def _unused_gpu(device: str) -> dict[str, Any]:
    """A graphics card that torch cannot use."""
    if device in {"cuda", "mps"}:
        return _check("gpu", True, "in use")
    nvidia, amd = nvidia_gpu(), amd_gpu()
    if nvidia:
        return _check(
            "gpu",
            False,
            f"{nvidia} is here, but this torch cannot use it",
            "install a matching torch: python launch.py --torch-backend auto",
        )
    if amd:
        return _check(
            "gpu",
            False,
            "an AMD GPU is here, but this torch cannot use it",
            "install the ROCm build: python launch.py --torch-backend rocm6.3",
        )
    return _check("gpu", True, "none found; the CPU computes")


def nvidia_gpu() -> str:
    """The name of an NVIDIA GPU on this machine, else empty."""
    tool = shutil.which("nvidia-smi")
    if tool:
        try:
            done = subprocess.run(
                [tool, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=20, check=False
            )
            if done.returncode == 0 and done.stdout.strip():
                return done.stdout.strip().splitlines()[0]
        except (OSError, subprocess.TimeoutExpired):
            pass
    return "an NVIDIA GPU" if Path("/proc/driver/nvidia/version").exists() else ""


def amd_gpu() -> bool:
    """Whether the kernel shows an AMD compute device."""
    return Path("/dev/kfd").exists()


def _workspace(path: Path) -> dict[str, Any]:
    try:
        place = Workspace.at(path)
        probe = place.root / ".writable"
        probe.touch()
        probe.unlink()
        free = shutil.disk_usage(place.root).free / 2**30
    except (OSError, StudioError) as error:
        return _check("workspace", False, one_line(error), "choose another with --workspace DIR")
    return _check(
        "workspace", free > LOW_DISK_GIB, f"{place.root}, {free:.1f} GiB free", "free some space, or choose another with --workspace DIR"
    )


def _starter() -> dict[str, Any]:
    from studio.models.bases import STARTER

    ok = (STARTER / "model_index.json").is_file()
    return _check("embedded base model", ok, str(STARTER) if ok else "missing", "get a whole copy of the studio")


def _extras() -> dict[str, Any]:
    """Optional packages: which are here, and how the others come; none of them is missed."""
    here = [name for name in extras.EXTRAS if extras.installed(name)]
    others = [name for name in extras.EXTRAS if name not in here]
    more = f"; more with python launch.py install NAME: {', '.join(others)}" if others else ""
    return _check("optional extras", True, (", ".join(here) or "none installed") + more)
