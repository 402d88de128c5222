"""Parking: a run holds at a step boundary, its memory given back, while someone else draws; then it goes on bit for bit.

Who wants the device leaves a file in the run's folder that names its own process. When that file is gone, or that
process no longer lives, the run goes on. No torch here.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psutil

from studio.errors import StudioError
from studio.jobs.runs.folders import Run, identify, process_lives
from studio.store import read_json, write_json

if TYPE_CHECKING:
    from studio.train.loop import Training

POLL_S = 0.05
ROOM_WAIT_S = 60  # how long a run waits for its memory to be free again before it gives up


def ask(run: Run) -> bool:
    """Ask the run to park for this process; False when another living process has already asked."""
    if is_asked(run):
        return _owner(run)["pid"] == psutil.Process().pid
    write_json(run.park_file, identify(psutil.Process()))
    return True


def release(run: Run) -> None:
    """Let the run go on, if it was this process that asked."""
    if _owner(run).get("pid") == psutil.Process().pid:
        run.park_file.unlink(missing_ok=True)


def is_asked(run: Run) -> bool:
    """Whether a living process wants the run parked."""
    return run.park_file.exists() and process_lives(_owner(run))


def _owner(run: Run) -> dict[str, Any]:
    try:
        owner = read_json(run.park_file)
    except (StudioError, OSError):
        return {}
    return owner if isinstance(owner, dict) else {}


def hold(run: Run, training: "Training", stopping: Callable[[], bool], parked: Callable[[], None]) -> float:
    """Give the device's memory back, call `parked`, and wait until nobody wants it or the run is to stop; the seconds held."""
    began, bring_back = time.monotonic(), put_aside(training)
    parked()
    while is_asked(run) and not stopping():
        time.sleep(POLL_S)
    if not is_asked(run):
        run.park_file.unlink(missing_ok=True)  # whoever asked may have died
    _bring_back(bring_back)
    return time.monotonic() - began


def put_aside(training: "Training") -> Callable[[], None]:
    """Move all of a run's tensors from its device to the CPU; returns what moves each back to where it was."""
    device = training.parts.device
    if device.type == "cpu":
        return lambda: None
    training.optimizer.zero_grad(set_to_none=True)  # the next step begins without gradients anyway
    if training.recorded:
        training.recorded.forget()
    groups: list[dict[Any, Any]] = [training.average.tensors, *training.optimizer.state.values()]
    values = [(group, name, value.device) for group in groups for name, value in group.items() if hasattr(value, "device")]
    modules = [(module, next(module.parameters()).device) for module in training.parts.modules.values()]
    live = [(tensor, tensor.device) for tensor in training.adapter.state().values()]

    def move(place: Callable[[Any], Any]) -> None:
        for module, home in modules:
            module.to(place(home))
        for tensor, home in live:  # those of an adapter that is no part of a module
            tensor.data = tensor.data.to(place(home))
        for group, name, home in values:
            group[name] = group[name].to(place(home))

    move(lambda home: "cpu")
    empty_cache(device)
    return lambda: move(lambda home: home)


def empty_cache(device: Any) -> None:
    """Give memory that is only kept in reserve back to the device."""
    import gc

    import torch

    gc.collect()
    if device.type != "cpu":
        getattr(torch, device.type).empty_cache()


def _bring_back(bring_back: Callable[[], None]) -> None:
    """Move back as soon as there is room; whoever drew may need a moment to let go."""
    import torch

    deadline = time.monotonic() + ROOM_WAIT_S
    while True:
        try:
            return bring_back()
        except torch.OutOfMemoryError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
