"""Noise schedules made of configurations from outside: looked over first, and levels that are no numbers are refused."""

from pathlib import Path
from typing import Any

from studio.errors import StudioError, first_line
from studio.families.folder import check_values


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
