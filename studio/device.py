"""Which device computes, in which precision, and whether it really does."""

import os
from typing import Any

from studio.errors import StudioError


def pick_device() -> Any:
    """The torch device to compute on: DOMAIN_STUDIO_DEVICE if set, else cuda, mps or cpu; StudioError if it cannot multiply."""
    import torch

    name = os.environ.get("DOMAIN_STUDIO_DEVICE", "")
    if not name:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda":
            torch.backends.cuda.enable_cudnn_sdp(False)  # its gradients are wrong for some shapes (torch 2.11 to 2.13); others do as well
        probe(device)
    except (RuntimeError, AssertionError) as error:
        raise StudioError(
            f"device {name!r} does not work ({str(error).splitlines()[0]}): set DOMAIN_STUDIO_DEVICE=cpu, or mend its driver"
        ) from None
    return device


def probe(device: Any) -> None:
    """A real matrix product on `device`, compared with the CPU's; RuntimeError when it is wrong."""
    import torch

    a = torch.linspace(-1, 1, 64 * 64).view(64, 64)
    if not torch.allclose((a.to(device) @ a.to(device)).cpu(), a @ a, atol=1e-2):
        raise RuntimeError("a matrix product came out wrong")


def pick_precision(device: Any, wanted: str) -> str:
    """`wanted`, or for "auto": bf16 where the hardware has it, else fp16 on GPUs; fp32 elsewhere. StudioError for fp16 without a GPU."""
    import torch

    if wanted != "auto":
        if wanted == "fp16" and device.type == "cpu":
            raise StudioError("train.precision: fp16 needs a GPU: use fp32 or bf16")
        return wanted
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def dtype_of(precision: str) -> Any:
    """The torch dtype of the frozen base in this precision."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def memory_gib(device: Any) -> tuple[float, float]:
    """(used, total) memory of `device` in GiB; of the machine for the CPU."""
    import psutil
    import torch

    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
    else:
        info = psutil.virtual_memory()
        free, total = info.available, info.total
    return (total - free) / 2**30, total / 2**30


def peak_memory_gib(device: Any) -> float:
    """The largest memory this process has held so far, in GiB: device memory on CUDA, resident memory elsewhere."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    try:
        import resource
        import sys

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset / 2**30


def machine_facts(device: Any) -> dict[str, Any]:
    """{"device", "name", "precision", "cores", "memory_gib"} of this machine, for people and for estimates."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else {"cpu": "CPU", "mps": "Apple GPU"}.get(device.type, device.type)
    precision, memory = pick_precision(device, "auto"), memory_gib(device)[1]
    return {"device": device.type, "name": name, "precision": precision, "cores": cores, "memory_gib": round(memory, 2)}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is torch's way of saying that memory ran out, on GPUs or on the CPU."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
