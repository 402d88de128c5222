"""Every family with every method: what is learned comes back equal from the run's state and from each file; what cannot be is refused."""

import pytest
import torch

from studio import registry
from studio.export.formats import FOLDERS, write_adapter
from studio.export.verify import PROBE, outputs, verify
from studio.export.whole import WHOLE, verify_whole, write_whole
from studio.methods import layers, lora
from studio.methods.extraction import extract
from studio.models.bases import find_base
from studio.train.randomness import generator
from tests.fixtures.families import FAMILIES, FLOW_MODELS

CPU = torch.device("cpu")
SETTINGS = {  # of a small adapter on all kinds of layers there are
    "lora": {"rank": 3, "alpha": 2.0, "lr": 0.02},
    "dora": {"rank": 3, "alpha": 2.0, "lr": 0.02},
    "loha": {"rank": 3, "lr": 0.02},
    "lokr": {"rank": 3, "lr": 0.05},
    "oft": {"block_size": 4, "lr": 0.02},
    "full": {"lr": 0.002},
    "textual_inversion": {"token": "<thing>", "initial_words": "picture", "num_vectors": 3, "embedding_lr": 0.2},
}
REFUSED = {("ddpm", "textual_inversion"): "reads no text", ("pixart", "textual_inversion"): "no program reads a new word"}
REFUSED |= {(row.family, "textual_inversion"): "no program reads a new word" for row in FLOW_MODELS.values()}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, tmp_path_factory):
    """(name, family, its loaded base), once for each family."""
    base = find_base(str(FAMILIES[request.param].make(tmp_path_factory.mktemp(request.param))))
    family = registry.family(base.family)
    parts = family.load(base.path, torch.float32, CPU)
    parts.facts.size_px = min(parts.facts.size_px, 64)  # where no file tells it, it is the usual one
    return request.param, family, parts


def spec_of(family, kind):
    """Settings that adapt the denoiser whole, and the text encoders where they can be."""
    method, values = registry.method(kind), dict(SETTINGS[kind])
    if "targets" in method.Spec.model_fields:
        groups = [g for g in family.card.targets if g != "conv" or kind not in {"dora", "oft"}]
        values |= {"targets": "+".join(groups), "text_encoder": bool(family.card.te_targets)}
    return method.adopt(method.Spec(**values), {}, [], "thing")


def train(family, parts, adapter, probe):
    """Two steps, by the family's own objective."""
    side = parts.facts.size_px // parts.facts.vae_scale
    z, eps = torch.randn(2, 2, parts.facts.latent_channels, side, side, generator=generator(1))
    optimizer = torch.optim.AdamW(adapter.groups())
    for _ in range(2):
        t = family.sample_t(parts, torch.tensor([0.3, 0.7]), tuple(z.shape))
        cond = family.collate(family.encode_text(parts, [probe, probe]))
        error = family.predict(parts, family.add_noise(parts, z, eps, t), t, cond, None) - family.target(parts, z, eps, t)
        error.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    for number, tensor in enumerate(adapter.state().values()):  # two steps are little to be told from nothing
        tensor.data.add_(torch.randn(tensor.shape, generator=generator(number)) * 0.02)


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("kind", registry.METHODS)
def test_every_pair(model, kind, tmp_path):
    """Attached, trained, saved, detached, attached again: equal; exported and loaded by plain libraries: equal."""
    name, family, parts = model
    method = registry.method(kind)
    if (name, kind) in REFUSED:
        assert REFUSED[name, kind] in method.supports(family.card)
        return
    assert method.supports(family.card) is None
    spec = spec_of(family, kind)
    probe = method.reword(spec, PROBE)
    base = outputs(family, parts, PROBE)
    adapter = method.attach(parts, spec, family.card, 0)
    train(family, parts, adapter, probe)
    state = {n: t.detach().clone() for n, t in adapter.state().items()}
    learned = outputs(family, parts, probe)
    adapter.detach()
    assert equal(base, outputs(family, parts, PROBE)), "the base is not as it was"
    for layout in [x for x in method.layouts(family.card) if x in WHOLE]:
        adapter = method.attach(parts, spec, family.card, 1)
        adapter.restore(state)
        target = tmp_path / (layout if layout in FOLDERS else f"{layout}.safetensors")
        write_whole(family, parts, target, layout, {})
        found = verify_whole(family, parts, adapter, target, layout, tmp_path / "configs")
        assert found.layers == found.expected > 0 and found.max_difference < 2e-5 < 1e-3 < found.effect, layout
        adapter.detach()
    for layout in [x for x in method.layouts(family.card) if x not in (*WHOLE, "extracted")]:
        adapter = method.attach(parts, spec, family.card, 1)
        adapter.restore(state)
        assert equal(learned, outputs(family, parts, probe))
        target = tmp_path / (layout if layout in FOLDERS else f"{layout}.safetensors")
        tensors = method.export(state, spec, layout, family.card)
        write_adapter(target, tensors, {"a": "b"}, layout, method.peft_configs(state, spec))
        found = verify(family, parts, adapter, target, layout, probe)
        assert found.layers == found.expected > 0 and found.max_difference < 2e-5 < 1e-3 < found.effect, layout
        assert equal(base, outputs(family, parts, PROBE)), layout
    if "extracted" in method.layouts(family.card):
        check_extracted(family, parts, method.attach(parts, spec, family.card, 1), state, tmp_path / "extracted.safetensors")
        assert equal(base, outputs(family, parts, PROBE))


def check_extracted(family, parts, tuned, state, target):
    """A LoRA taken out of a tuned model goes into the family's usual file and comes back equal."""
    tuned.restore(state)
    found = extract(parts, family.card, tuned.first(), state, 4)
    tuned.detach()
    taken = layers.Adapter(parts, found.spec, found.targets, lora.KIND, 0, family.card)
    taken.restore(found.state)
    usual = family.card.export_layouts[0]
    write_adapter(target, lora.export(found.state, found.spec, usual, family.card), {}, usual, {})
    told = verify(family, parts, taken, target, usual)
    assert told.layers == told.expected > 0 and told.max_difference < 2e-5 < told.effect and 0 < found.error < 1
