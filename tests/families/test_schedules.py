"""Noise schedules from configurations that nobody should have written: one line that names the file, whatever is in it."""

import json

import pytest

from studio.errors import StudioError
from studio.families import discrete, flow

FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "num_train_timesteps": 1000}
DDIM = {"_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
HOSTILE = [
    (FLOW, {"shift": {}}), (FLOW, {"shift": "x"}), (FLOW, {"shift": float("nan")}), (FLOW, {"shift": float("inf")}),
    (FLOW, {"num_train_timesteps": 10**9}), (FLOW, {"num_train_timesteps": 0}), (FLOW, {"num_train_timesteps": "many"}),
    (FLOW, {"time_shift_type": [1]}), (FLOW, {"use_karras_sigmas": 7}), (FLOW, {"max_image_seq_len": 2**63}),
    (DDIM, {"beta_schedule": -1}), (DDIM, {"beta_end": None}), (DDIM, {"trained_betas": -1}), (DDIM, {"num_train_timesteps": 10**9}),
    (DDIM, {"num_train_timesteps": -5}), (DDIM, {"beta_start": float("inf")}),
]  # fmt: skip


@pytest.mark.parametrize(("config", "change"), HOSTILE, ids=str)
def test_it_is_refused_in_a_line(tmp_path, config, change):
    file = tmp_path / "scheduler" / "scheduler_config.json"
    file.parent.mkdir()
    file.write_text(json.dumps(config | change))
    with pytest.raises(StudioError) as told:
        (flow.load_scheduler if config is FLOW else discrete.load_schedule)(tmp_path)
    assert str(tmp_path) in str(told.value) and "\n" not in str(told.value) and len(str(told.value)) < 400


def test_infinity_is_a_setting_of_some_solvers(tmp_path):
    (tmp_path / "scheduler").mkdir()
    told = {"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": float("-inf"), "beta_end": 0.02, "beta_start": 0.0001}
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(told))
    assert discrete.load_schedule(tmp_path).config.num_train_timesteps == 1000
