"""Noise schedules made of configurations from outside: looked over first, and levels that are no numbers are refused."""

from pathlib import Path
from typing import Any

from studio.errors import StudioError, first_line
from studio.families.folder import check_values, component, read_config

PREDICTIONS = ("epsilon", "v_prediction")  # of models of discrete timesteps
FOREIGN = ("FlowMatch", "EDM", "SCM", "CM")  # how solvers are called that have no discrete timesteps


def check(folder: Path, is_flow: bool) -> None:
    """StudioError, naming the file, unless a model folder's noise schedule is one of a flow, or of discrete timesteps; nothing is made."""
    file = component(folder, "scheduler") / "scheduler_config.json"
    config = read_config(file)
    check_values(file, config)
    name, predicts, betas = str(config.get("_class_name", ""))[:60], config.get("prediction_type"), config.get("trained_betas")
    of_flow = name.startswith("FlowMatch") or bool(config.get("use_flow_sigmas") and predicts == "flow_prediction")
    if is_flow and not of_flow:
        raise StudioError(f"{file}: {name} is no noise schedule of a flow model: fetch the model again")
    if not is_flow and (of_flow or name.startswith(FOREIGN)):
        raise StudioError(f"{file}: its noise schedule, {name}, is not of discrete timesteps: use another copy")
    if not is_flow and predicts is not None and predicts not in PREDICTIONS:
        raise StudioError(f"{file}: it predicts {str(predicts)[:40]!r}: only epsilon and v_prediction are known here")
    if isinstance(betas, list) and len(betas) != config.get("num_train_timesteps", 1000):
        raise StudioError(f"{file}: its noise levels are none that a model has: fetch the model again")


def make_schedule(cls: Any, file: Path, config: dict[str, Any], **more: Any) -> Any:
    """The noise schedule of this class; StudioError, naming the file, where its configuration makes none."""
    check_values(file, config)
    try:
        scheduler = cls.from_config(config, **more)
        levels = getattr(scheduler, "alphas_cumprod", None)
        levels = scheduler.sigmas if levels is None else levels
        is_whole = levels.shape == (scheduler.config.num_train_timesteps,) and bool(levels.isfinite().all()) and len(levels) > 0
    except Exception as error:  # the library raises many kinds; all mean that this makes no schedule
        raise StudioError(f"{file}: no noise schedule can be made of it ({first_line(error)}): fetch the model again") from error
    if not is_whole:
        raise StudioError(f"{file}: its noise levels are none that a model has: fetch the model again")
    return scheduler
