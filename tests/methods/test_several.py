"""Methods together: the base comes back whole, each file holds what its method learned, and both files together do what the run does."""

import pytest
import torch

from studio.errors import StudioError
from studio.export.verify import PROBE, outputs
from studio.families import sd
from studio.methods import lora, several
from studio.methods import textual_inversion as ti
from studio.train.randomness import generator

SPECS = [
    lora.Spec(rank=4, targets="attention"),
    ti.adopt(ti.Spec(token="<thing>", initial_words="picture", num_vectors=2), {}, [], "thing"),
]
ASKED = f"<thing>, {PROBE}"


def disturbed(parts, specs):
    adapter = several.attach(parts, specs, sd.card, 0)
    for number, tensor in enumerate(adapter.state().values()):
        tensor.data.add_(torch.randn(tensor.shape, generator=generator(number, "weights")) * 0.1)
    return adapter


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_both_are_trained_and_both_come_off(tiny_parts):
    base = outputs(sd, tiny_parts, f"picture, {PROBE}")
    adapter = disturbed(tiny_parts, SPECS)
    assert len(adapter.groups()) == 2 and adapter.components == {"unet", "text_encoder"}
    with adapter.at([0.0]):
        assert equal(base, outputs(sd, tiny_parts, ASKED))
    assert not equal(base, outputs(sd, tiny_parts, ASKED))
    adapter.detach()
    assert equal(base, outputs(sd, tiny_parts, f"picture, {PROBE}"))


def test_a_state_comes_back(tiny_parts):
    adapter = disturbed(tiny_parts, SPECS)
    kept, drawn = {n: t.detach().clone() for n, t in adapter.state().items()}, outputs(sd, tiny_parts, ASKED)
    adapter.detach()
    again = several.attach(tiny_parts, SPECS, sd.card, 0)
    again.restore(kept)
    assert equal(drawn, outputs(sd, tiny_parts, ASKED))
    with pytest.raises(StudioError, match="not of this run"):
        again.restore({n: t for n, t in kept.items() if "lora" in n})
    with pytest.raises(StudioError, match="continue from a run"):
        again.load(kept)


def test_plain_diffusers_draws_the_same_with_both_files(tiny_parts, tmp_path):
    from studio.store import write_tensors

    adapter = disturbed(tiny_parts, SPECS)
    state, ours = {n: t.detach().clone() for n, t in adapter.state().items()}, outputs(sd, tiny_parts, ASKED)
    adapter.detach()
    assert several.layouts(SPECS, sd.card) == ("kohya", "diffusers", "peft", "embedding")
    for layout in ("kohya", "embedding"):
        own = several.writer_of(SPECS, layout, sd.card)
        method = lora if layout == "kohya" else ti
        mine = {n: t for n, t in state.items() if ("lora" in n) == (method is lora)}
        write_tensors(tmp_path / f"{layout}.safetensors", method.export(mine, own, layout, sd.card), {})
    pipe = sd.pipeline(tiny_parts)
    pipe.load_lora_weights(tmp_path, weight_name="kohya.safetensors")
    pipe.load_textual_inversion(tmp_path / "embedding.safetensors", token="<thing>")
    theirs = outputs(sd, tiny_parts, pipe.maybe_convert_prompt(ASKED, pipe.tokenizer))
    assert all((a - b).abs().max() < 1e-5 for a, b in zip(ours, theirs, strict=True))


def test_when_the_second_cannot_be_the_first_comes_off(tiny_parts):
    base = outputs(sd, tiny_parts)
    known = next(w for w in tiny_parts.tokenizers["tokenizer"].get_vocab() if w.isalpha())
    with pytest.raises(StudioError, match="vocabulary already"):
        several.attach(tiny_parts, [SPECS[0], SPECS[1].model_copy(update={"token": known})], sd.card, 0)
    assert equal(base, outputs(sd, tiny_parts)) and not hasattr(tiny_parts.modules["unet"], "peft_config")


def test_what_is_asked_of_all(tiny_parts):
    assert several.reword(SPECS, "a dog") == "<thing>, a dog" and several.word(SPECS) == "<thing>" and several.word(SPECS[:1]) == ""
    assert several.live(SPECS) == {"text_encoder"} and several.live(SPECS[:1]) == frozenset()
    assert several.batchable(SPECS[:1]) and not several.batchable(SPECS)
