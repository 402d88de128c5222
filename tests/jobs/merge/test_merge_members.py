"""Others' adapters on a base in memory: on layers that no method trains by their formula, and for another base told as such."""

import shutil

import pytest
import torch

from studio import registry
from studio.errors import StudioError
from studio.export.verify import distance, outputs
from studio.jobs.merge.members import Member, attach, file_of
from studio.jobs.merge.merging import merge
from studio.jobs.runs.create import Request, create_run
from studio.models.bases import find_base
from studio.store import Workspace, read_tensors, write_json, write_tensors
from tests.fixtures.families import FAMILIES
from tests.jobs.conftest import carry_out_here, draw_here
from tests.methods.test_imports import numbers

CPU = torch.device("cpu")
TEXT = "text_model_encoder_layers_0_self_attn_q_proj"


@pytest.fixture(scope="module")
def flux(tmp_path_factory):
    """(a tiny FLUX, a file as kohya's trainer writes it: a block's fused attention, and a layer of the first text encoder)."""
    folder = tmp_path_factory.mktemp("flux")
    base = find_base(str(FAMILIES["flux"].make(folder / "base")))
    parts = registry.family("flux").load(base.path, torch.float32, CPU)
    width = parts.modules["transformer"].single_transformer_blocks[0].attn.to_q.weight.shape[0]
    read = parts.modules["text_encoder"].get_input_embeddings().weight.shape[1]
    shapes = {"lora_unet_double_blocks_0_img_attn_qkv": (width, 3 * width), f"lora_te1_{TEXT}": (read, read)}
    tensors = {}
    for i, (layer, (ins, outs)) in enumerate(shapes.items()):
        tensors |= {f"{layer}.lora_down.weight": numbers(2, ins, key=i), f"{layer}.lora_up.weight": numbers(outs, 2, key=i + 9)}
    file = folder / "theirs.safetensors"
    write_tensors(file, tensors)
    return base, parts, file


def test_a_text_encoder_that_is_not_trained_here_is_adapted_by_its_formula(shop, flux, tmp_path):
    base, parts, file = flux
    family = registry.family("flux")
    bare = outputs(family, parts)
    adapter = attach(shop, Member(str(file)), family, parts)
    assert adapter.num_layers == 4 and adapter.components == {"transformer", "text_encoder"}
    with adapter.at([0.5]):
        both = outputs(family, parts)
    adapter.detach()
    assert distance(outputs(family, parts), bare) == 0 < distance(both, bare)
    merged = merge(shop, Member(str(file), 0.5), str(base.path), tmp_path / "merged")
    assert merged.about["layers"] == "2/2 layers" and merged.about["max_difference"] < 1e-4
    assert distance(outputs(family, family.load(merged.file, torch.float32, CPU)), both) < 1e-4


def dropped(shop, file):
    """A file dropped on Compare, as a request has it."""
    from studio.jobs.draw.restore import restore_from_adapter

    return restore_from_adapter(shop, shutil.copy(file, shop.cache / "dropped.safetensors"), file.name)["request"]["adapters"][0]


def test_it_is_drawn_on_compare_but_not_continued(shop, flux):
    base, _, file = flux
    use = dropped(shop, file)
    drawing, pictures = draw_here(
        shop, {"base": str(base.path), "adapters": [use], "sampler": "euler", "strip": "strength", "strengths": [0.5, 1.0]}
    )
    assert drawing.result()["notes"] == ["theirs.safetensors: 2/2 layers"]
    assert abs(pictures[1][1] - pictures[0][1]).max() > 0 < abs(pictures[2][1] - pictures[1][1]).max()
    with pytest.raises(StudioError, match=r"adapts text encoders too, which no method trains here on FLUX\.1, .*: merge it into its base"):
        create_run(shop, Request("shapes", str(base.path), start_from=str(file)))


def test_an_adapter_of_another_base_is_told_as_such_wherever_it_is_given(shop, flux, tiny_folder):
    file = make_file(shop, tiny_folder, {n: t for n, t in read_tensors(flux[2]).items() if "_te1_" not in n})
    use = dropped(shop, file)
    with pytest.raises(StudioError, match=r"none of its 1 layers .*it was made for FLUX\.1: choose that base"):
        draw_here(shop, {"base": str(tiny_folder), "adapters": [use]})
    run = create_run(shop, Request("shapes", str(tiny_folder), start_from=str(file)))
    with pytest.raises(Exception, match=r"none of its 1 layers .*it was made for FLUX\.1: choose that base"):
        carry_out_here(run)
    theirs, own = read_tensors(file), read_tensors(make_file(shop, tiny_folder))
    run = create_run(shop, Request("shapes", str(tiny_folder), start_from=str(make_file(shop, tiny_folder, own | theirs))))
    with pytest.raises(Exception, match=r"start_from: \d+/\d+ layers; not on this base: .*: choose the base it was made for"):
        carry_out_here(run)


def make_file(shop, base, tensors=None):
    """The adapter of a run that has not begun, with every layer; or these tensors instead."""
    file = shop.cache / "mine.safetensors"
    if tensors is None:
        family, card = registry.family("sd"), registry.family("sd").card
        parts = family.load(find_base(str(base)).path, torch.float32, CPU)
        spec = registry.method("lora").Spec(rank=2, targets="attention")
        adapter = registry.method("lora").attach(parts, spec, card, 0)
        tensors = registry.method("lora").export(adapter.state(), spec, "kohya", card)
    write_tensors(file, {n: t.contiguous() for n, t in tensors.items()})
    return file


def test_settings_of_another_adapter_beside_a_file_say_nothing_about_it(tmp_path, tiny_folder):
    """A folder of downloads may hold an adapter_config.json that belongs to none of its files."""
    workspace = Workspace.at(tmp_path / "w")
    parts = registry.family("sd").load(find_base(str(tiny_folder)).path, torch.float32, CPU)
    layer = "lora_unet_mid_block_attentions_0_proj_in"
    width = parts.modules["unet"].mid_block.attentions[0].proj_in.weight.shape[0]
    write_tensors(
        tmp_path / "x.safetensors",
        {f"{layer}.lora_down.weight": torch.ones(2, width), f"{layer}.lora_up.weight": torch.ones(width, 2)},
    )
    alone = attach(workspace, Member(str(tmp_path / "x.safetensors")), registry.family("sd"), parts)
    state = {n: t.detach().clone() for n, t in alone.state().items()}
    alone.detach()
    write_json(tmp_path / "adapter_config.json", {"r": 2, "lora_alpha": 64})
    beside = attach(workspace, Member(str(tmp_path / "x.safetensors")), registry.family("sd"), parts)
    assert all(torch.equal(t, state[n]) for n, t in beside.state().items())
    beside.detach()
    assert file_of(workspace, str(tmp_path / "x.safetensors")) == tmp_path / "x.safetensors"
