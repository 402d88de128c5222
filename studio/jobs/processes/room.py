"""Whether drawing fits beside a living run: numbers in, an answer out. No torch here.

This is an estimate on the safe side, not a promise; running out of memory is told when it happens.
"""

from dataclasses import dataclass
from typing import Literal

from studio.models.memory_plan import drawing_bytes
from studio.sample.pair import SHOTS_PER_PASS

Answer = Literal["beside", "park", "wait"]

DEVICE_BYTES = 700 * 2**20  # of a GPU's libraries, per process
SHARE = 0.92  # of free memory that is taken at most


@dataclass(frozen=True)
class Device:
    """What the estimate needs to know of a device."""

    kind: str  # cpu, cuda, mps
    free: int  # bytes
    total: int
    bytes_per_value: int  # of the base in its precision there


@dataclass(frozen=True)
class Wanted:
    """What a request needs room for."""

    source: str  # of the base model; "" = it needs none
    width: int | None  # None = the model's own
    height: int | None
    count: int  # pictures at once
    doing: str  # in words
    num_bytes: int = 0  # of what needs no base model, but memory


def drawing(weights: int, width: int, height: int, count: int, bytes_per_value: int) -> int:
    """Memory that drawing `count` pictures needs, a pass at a time; `weights`: values still to be loaded, 0 when they are there."""
    return drawing_bytes(weights, width, height, min(count, SHOTS_PER_PASS), bytes_per_value)


def fits(needed: int, free: int) -> bool:
    """Whether so many bytes may be taken of so many free ones."""
    return needed <= SHARE * free


def decide(needed: int, device: Device, run_state: str) -> Answer:
    """Draw beside the run, have it parked, or wait for it to end: `needed` bytes, while a run of this state lives.

    Parking gives the device's memory back but not the machine's, so it helps on GPUs alone, and only while the run
    comes to the end of a step sooner or later.
    """
    if fits(needed, device.free):
        return "beside"
    takes_steps = run_state in {"running", "parked"}
    if device.kind != "cpu" and takes_steps and fits(needed, device.total - 2 * DEVICE_BYTES):
        return "park"
    return "wait"
