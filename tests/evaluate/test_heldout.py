"""The paired held-out loss, its turn, and the choice that follows from it."""

import math

import pytest
import torch

from studio.evaluate.choose import choose
from studio.evaluate.heldout import HeldOut, overfit_since, score
from studio.spec import EvaluateSpec
from studio.store import Workspace
from tests.fixtures.runs import dataset, spec_for, training


def test_score_pairs_triples_and_counts_pictures():
    base = torch.tensor([[1.0, 4.0], [2.0, 2.0], [1.0, 1.0]])
    adapted = base * torch.tensor([[0.5], [0.5], [2.0]])
    found = score(adapted, base)
    assert (found.num_better, found.num_images) == (2, 3)
    assert found.log_ratio == pytest.approx(-math.log(2) / 3)
    ratios = torch.tensor([-1.0, -1.0, 1.0]) * math.log(2)
    assert found.standard_error == pytest.approx(float(ratios.std() / math.sqrt(3)))


@pytest.fixture()
def run(tmp_path, tiny_folder, tiny_parts):
    workspace = Workspace.at(tmp_path / "workspace")
    data = dataset(workspace, tmp_path / "pictures", 12)
    return training(workspace, data, tiny_parts, spec_for(data, tiny_folder), tmp_path)


def test_the_base_scores_as_itself_and_twice_the_same(run):
    held_out = HeldOut(run.family, run.parts, run.encoded, EvaluateSpec(num_timesteps=8))
    held_out.measure_base(run.adapter)
    first = held_out.measure(run.adapter, ("held_out", "train"))
    assert first["held_out"].log_ratio == 0 and first["held_out"].loss == first["held_out"].base > 0
    assert held_out.measure(run.adapter, ("held_out", "train")) == first
    assert first["held_out"].num_images == first["train"].num_images == len(run.encoded.held_out) == 2


def test_an_adapter_fitted_to_the_pictures_scores_better_and_its_opposite_worse(run):
    from studio.train import loop

    held_out = HeldOut(run.family, run.parts, run.encoded, EvaluateSpec(num_timesteps=8))
    held_out.measure_base(run.adapter)
    for run.step in range(60):
        loop.optimizer_step(run)
    fitted = held_out.measure(run.adapter, ("train",))["train"]
    assert fitted.log_ratio < -0.02 and fitted.num_better == fitted.num_images
    for name, tensor in run.adapter.state().items():
        tensor.data.mul_(-1 if name.endswith("lora_B.weight") else 1)
    assert held_out.measure(run.adapter, ("train",))["train"].log_ratio > fitted.log_ratio + 0.01


def _scores(*ratios, images=6):
    """Scores whose pictures all move together, by slightly different amounts, from very different levels."""
    spread = [0.3 * i for i in range(images)]
    rows = [[r * (1 + 0.02 * i) + s for i, s in enumerate(spread)] for r in ratios]
    return [{"step": 10 * (i + 1), "held_out": {"log_ratio": sum(r), "num_images": images, "ratios": r}} for i, r in enumerate(rows)]


@pytest.mark.parametrize(
    ("ratios", "turned"),
    [
        ((-0.1, -0.2, -0.3), False),
        ((-0.3, -0.27, -0.27), True),
        ((-0.3, -0.27, -0.31), False),
        ((-0.3, -0.27), False),
        ((-0.1, -0.3, -0.2, -0.1), True),
    ],
)
def test_a_turn_needs_two_scores_above_the_best_picture_by_picture(ratios, turned):
    assert (overfit_since(_scores(*ratios)) is not None) == turned


def test_few_pictures_cannot_show_a_turn():
    assert overfit_since(_scores(-0.3, -0.1, -0.1, images=4)) is None


def test_pictures_that_disagree_show_no_turn():
    scores = _scores(-0.3, -0.27, -0.27)
    for later in scores[1:]:
        later["held_out"]["ratios"] = [a + (0.3 if i % 2 else -0.28) for i, a in enumerate(scores[0]["held_out"]["ratios"])]
    assert overfit_since(scores) is None


def test_without_held_out_pictures_nothing_is_said():
    assert overfit_since([{"step": 1}, {"step": 2}, {"step": 3}]) is None


def _candidate(step, average, ratio):
    held_out = None if ratio is None else {"log_ratio": ratio, "num_better": 1, "num_images": 2}
    return {"step": step, "average": average, "held_out": held_out}


def test_the_lowest_held_out_loss_is_chosen():
    chosen, reason = choose([_candidate(10, "ema", -0.1), _candidate(20, "raw", -0.3), _candidate(30, "ema", -0.2)])
    assert chosen["step"] == 20 and "1 of 2 unseen" in reason


def test_without_held_out_pictures_the_last_average_is_chosen():
    chosen, reason = choose([_candidate(10, "ema", None), _candidate(20, "ema", None), _candidate(20, "raw of step 20", None)])
    assert (chosen["step"], chosen["average"]) == (20, "ema") and "nothing was held out" in reason
