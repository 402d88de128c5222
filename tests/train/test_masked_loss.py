"""Masks as loss weights: reduced with the frame of their picture, without influence where they are black, also on held-out pictures."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from studio.dataset.framing import Edit
from studio.dataset.masks import set_mask
from studio.dataset.reframe import set_edits
from studio.dataset.rows import open_dataset
from studio.errors import StudioError
from studio.evaluate.heldout import HeldOut
from studio.families import sd
from studio.store import Workspace
from studio.train.objective import batch_loss, sample_losses, stack_weights
from tests.fixtures.runs import dataset, spec_for, training

FLOOR0 = "data.mask_floor=0"


@pytest.fixture(scope="module")
def room(tmp_path_factory, tiny_folder, fresh_parts):
    """(workspace, dataset, make a Training): the left half of every picture is left out by its mask."""
    workspace = Workspace.at(tmp_path_factory.mktemp("workspace"))
    data = dataset(workspace, tmp_path_factory.mktemp("pictures"), 8)
    for row in data.rows:
        mask = Image.new("L", (row.width, row.height), 255)
        mask.paste(0, (0, 0, row.width // 2, row.height))
        mask.save(workspace.root / "mask.png")
        set_mask(workspace, data.root.name, row.file, workspace.root / "mask.png")

    def make(*settings):
        found = open_dataset(workspace, data.root.name)
        return training(workspace, found, fresh_parts(), spec_for(found, tiny_folder, *settings), workspace.root / "run")

    return workspace, data, make


def gradients(run, batch, family=sd):
    run.optimizer.zero_grad(set_to_none=False)
    batch_loss(family, run.parts, batch, 0.0, len(batch)).backward()
    return [p.grad.clone() for group in run.optimizer.param_groups for p in group["params"] if p.grad is not None]


def elsewhere(left):
    """The family with another target in the left (or right) half of the latents."""

    def target(parts, z, eps, t):
        wanted = sd.target(parts, z, eps, t).clone()
        half = wanted.shape[-1] // 2
        wanted[..., slice(None, half - 1) if left else slice(half + 1, None)] += 50  # at the edge itself there are greys
        return wanted

    return SimpleNamespace(**{name: getattr(sd, name) for name in dir(sd) if not name.startswith("__")} | {"target": target})


def test_what_is_masked_out_has_no_influence_on_the_gradient(room):
    run = room[2](FLOOR0)
    batch = run.draw(0)
    assert batch.weight.shape == (4, 1, *batch.z.shape[-2:]) and batch.weight[..., 0].max() == 0 and batch.weight[..., -1].min() == 1
    plain = gradients(run, batch)
    assert any(g.abs().max() > 0 for g in plain)
    assert all(torch.equal(a, b) for a, b in zip(plain, gradients(run, batch, elsewhere(left=True)), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(plain, gradients(run, batch, elsewhere(left=False)), strict=True))


def test_the_loss_is_the_weighted_mean_and_the_floor_sets_the_rest(room):
    for floor in (0.0, 0.25):
        run = room[2](f"data.mask_floor={floor}")
        batch = run.draw(1)
        assert float(batch.weight.min()) == pytest.approx(floor)
        with torch.no_grad():
            losses, t = sample_losses(sd, run.parts, batch)
            eps = batch.eps
            said = sd.predict(run.parts, sd.add_noise(run.parts, batch.z, eps, t), t, sd.collate(batch.conds), batch.geometry)
            error = (said - sd.target(run.parts, batch.z, eps, t)).square().mean(1, keepdim=True)
        expected = (error * batch.weight).sum((1, 2, 3)) / batch.weight.sum((1, 2, 3))
        assert torch.allclose(losses, expected, rtol=1e-5)


def test_without_masks_nothing_is_weighted(room):
    assert room[2]("data.mask_floor=1").draw(0).weight is None
    some = stack_weights([None, torch.zeros(1, 2, 2), None])
    assert some[0].min() == 1 and some[1].max() == 0 and stack_weights([None, None]) is None


def test_a_mask_is_framed_as_its_picture(room):
    workspace, data, make = room
    file = data.train_rows[0].file
    undo = set_edits(workspace, data.root.name, {file: Edit(turns=1, crop=(0.25, 0.0, 0.75, 1.0))})["undo"]
    try:
        encoded = make(FLOOR0).encoded
        item = next(i for i in encoded.items if i.file == file)
        weight = encoded.weight(item, 0)[0].numpy()
        # Left and right halves of the kept part; turned clockwise, what was left is now above.
        rows = weight.shape[0] // 2
        assert np.all(weight[: rows - 1] == 0) and np.all(weight[rows + 1 :] == 1)
    finally:
        from studio.dataset.wording import undo_change

        undo_change(workspace, data.root.name, undo)


def test_held_out_pictures_are_measured_with_the_same_weights_and_it_is_recorded(room):
    found = {}
    for floor in ("0", "1"):
        run = room[2](f"data.mask_floor={floor}")
        meter = HeldOut(sd, run.parts, run.encoded, run.spec.evaluate)
        known = meter.measure_base(run.adapter)
        found[floor] = (meter.measure(run.adapter, ("held_out",))["held_out"], set(known))
    masked, plain = found["0"][0], found["1"][0]
    assert masked.num_masked == masked.num_images and plain.num_masked == 0
    assert masked.base != plain.base and not found["0"][1] & found["1"][1], "what was measured otherwise is not used again"


def test_a_picture_of_which_nothing_is_left_is_named(room):
    workspace, data, make = room
    row = data.train_rows[0]
    Image.new("L", (row.width, row.height), 0).save(workspace.root / "black.png")
    undo = set_mask(workspace, data.root.name, row.file, workspace.root / "black.png")["undo"]
    with pytest.raises(StudioError, match="leaves nothing to learn"):
        make(FLOOR0)
    assert make().draw(0).weight is not None, "with a floor it still counts a little"
    from studio.dataset.wording import undo_change

    undo_change(workspace, data.root.name, undo)


def test_lying_copies_are_trained_on_and_never_measured(room):
    run = room[2]("data.turns=true")
    assert sum(item.is_lying for item in run.encoded.train) == len(room[1].train_rows) == len(run.encoded.train) / 2
    meter = HeldOut(sd, run.parts, run.encoded, run.spec.evaluate)
    assert not any(item.is_lying for items in meter.sets.values() for item in items)
