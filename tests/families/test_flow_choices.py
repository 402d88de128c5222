"""What can be chosen on a flow model: its usual settings, and what means nothing there and is refused in a line."""

import pytest
import torch

from studio import registry
from studio.errors import StudioError
from studio.export.metadata import file_metadata
from studio.jobs.export import exports
from studio.jobs.processes.warm import load_base
from studio.models.bases import find_base
from studio.recipes import Choice, refusal, resolve, suitable
from studio.sample.pair import settle_text
from studio.spec import BaseSpec
from studio.store import Workspace
from studio.train.objective import draw_batch
from tests.fixtures.runs import dataset
from tests.fixtures.tiny_flow import MODELS, tiny

PLAIN = {row.family: name for name, row in reversed(MODELS.items())}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("place")
    return dataset(Workspace.at(root / "workspace"), root / "pictures", 8)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return find_base(str(tiny(MODELS["flux"].build, tmp_path_factory.mktemp("model") / "flux")))


@pytest.mark.parametrize("name", PLAIN.values())
def test_a_family_has_recipes_with_its_usual_settings(name, data, tmp_path):
    base = find_base(str(tiny(MODELS[name].build, tmp_path / "model")))
    card = registry.family(base.family).card
    assert {"lora", "dreambooth-lora", "full"} <= set(suitable(base))
    assert refusal("ddpm-lora", base)
    spec = resolve(Choice(data, base))
    assert spec.preview.sampler in card.samplers and spec.methods[0].lr == 1e-4 and spec.methods[0].rank == 16
    assert spec.preview.guidance == (card.guidance or 3.0)
    assert resolve(Choice(data, base, settings=["preview.guidance=1.5"])).preview.guidance == 1.5
    assert settle_text(card, "a disc", "", None) == (card.guidance or 5.0)
    assert exports._describe_layout(card.export_layouts[0], card)["readers"].startswith(card.readers or "ComfyUI")


def test_what_means_nothing_is_refused(base, data):
    for setting, said in (
        ("method.text_encoder=true", "text encoders of FLUX.1 are not trained here"),
        ("preview.negative=grey", "knows no negative prompts"),
        ("train.timesteps=cosine", "train.timesteps: must be 'auto', 'uniform' or 'logit-normal'"),
        ("train.timestep_shift=0", "train.timestep_shift"),
    ):
        with pytest.raises(StudioError, match=said):
            resolve(Choice(data, base, settings=[setting]))
    with pytest.raises(StudioError, match="negative: FLUX.1 knows no negative prompts"):
        settle_text(registry.family("flux").card, "a disc", "grey", None)
    with pytest.raises(StudioError, match="base.prediction_type: FLUX.1 is a flow model"):
        load_base(base, BaseSpec(prediction_type="epsilon"), "fp32")
    assert "no program reads a new word" in refusal("textual-inversion", base)


def test_an_adapter_file_tells_only_what_readers_of_the_family_look_for(base, data):
    family = registry.family("flux")
    parts = family.load(base.path, torch.float32, torch.device("cpu"))
    counts = {"train": 3, "base": "abc", "step": 7}
    told = file_metadata(resolve(Choice(data, base)), parts, family.export_metadata(parts), {"ss_network_dim": "4"}, counts, "lora")
    assert told["modelspec.architecture"] == "flux-1-dev/lora" and not [key for key in told if key.startswith("ss_")]


def test_training_draws_the_levels_that_were_asked_for_and_scores_stay_comparable(base, data):
    """The settings reach the batch of a step, and not the fixed noise levels of the held-out score."""
    from studio.encode.build import Encoder, encode_dataset
    from studio.encode.cache import Cache
    from studio.evaluate.heldout import HeldOut
    from studio.families.timesteps import AUTO, Timesteps

    family = registry.family("flux")
    parts = family.load(base.path, torch.float32, torch.device("cpu"))
    spec = resolve(Choice(data, base, settings=["train.timesteps=uniform", "train.timestep_shift=0.25", "evaluate.num_timesteps=2"]))
    encoder = Encoder(family, parts, "tiny", Cache(data.root.parent / "cache"))
    encoded = encode_dataset(data, encoder, spec, False, lambda done, total: None)
    batch = draw_batch(encoded.train[:4], encoded, spec, 0, 0.0)
    assert batch.how == Timesteps("uniform", 0.25)
    assert [part.how for part in batch.micro(3)] == [batch.how] * 2
    t = family.sample_t(parts, batch.u, tuple(batch.z.shape), batch.how)
    assert torch.allclose(t, 0.25 * batch.u / (1 - 0.75 * batch.u), atol=1e-6)
    scored = HeldOut(family, parts, encoded, spec.evaluate)
    assert scored._triples(encoded.train[0]).how == AUTO
