"""Textual inversion: the new word alone is learned, the base stays as it was, and its file comes back equal in plain diffusers."""

import pytest
import torch

from studio.errors import StudioError
from studio.export.formats import write_adapter
from studio.export.verify import PROBE, outputs, verify
from studio.families import sd
from studio.methods import textual_inversion as ti
from studio.train.randomness import generator


def attach(parts, **settings):
    spec = ti.Spec(**{"token": "<thing>", "initial_words": "picture", "num_vectors": 3, **settings})
    spec = ti.adopt(spec, {}, [], "thing")
    return ti.attach(parts, spec, sd.card, seed=0), spec


def disturb(adapter, size=0.1):
    """Give the word vectors as if it were trained."""
    for number, tensor in enumerate(adapter.state().values()):
        tensor.data.add_(torch.randn(tensor.shape, generator=generator(number, "weights")) * size)


def test_only_the_new_rows_are_trained(tiny_parts):
    adapter, spec = attach(tiny_parts)
    table = tiny_parts.modules["text_encoder"].get_input_embeddings().weight.clone()
    (group,) = adapter.groups()
    assert sum(p.numel() for p in group["params"]) == spec.num_vectors * table.shape[1]
    sd.encode_text(tiny_parts, [ti.reword(spec, "a dog")])[0]["embeds"].sum().backward()
    assert group["params"][0].grad.abs().sum() > 0
    assert [n for n, p in tiny_parts.modules["text_encoder"].named_parameters() if p.grad is not None] == [
        n for n, p in tiny_parts.modules["text_encoder"].named_parameters() if p is group["params"][0]
    ]


def test_texts_without_the_word_are_read_as_before(tiny_parts):
    base = outputs(sd, tiny_parts)
    adapter, _ = attach(tiny_parts)
    disturb(adapter)
    assert all(torch.equal(a, b) for a, b in zip(base, outputs(sd, tiny_parts), strict=True))


def test_at_strength_0_the_base_reads_the_first_words(tiny_parts):
    base = outputs(sd, tiny_parts, f"picture, {PROBE}")
    adapter, spec = attach(tiny_parts)
    disturb(adapter)
    asked = ti.reword(spec, PROBE)
    with adapter.at([0.0]):
        assert all(torch.equal(a, b) for a, b in zip(base, outputs(sd, tiny_parts, asked), strict=True))
    learned = outputs(sd, tiny_parts, asked)
    assert not torch.equal(base[0], learned[0])
    with adapter.at([0.5]):
        half = outputs(sd, tiny_parts, asked)
    assert not torch.equal(half[0], learned[0])
    assert adapter.read_as(asked, 0.0) == f"picture, {PROBE}" and adapter.read_as(asked, 1.0) == asked


def test_detach_leaves_encoder_and_tokenizer_as_they_were(tiny_parts):
    tokenizer, encoder = tiny_parts.tokenizers["tokenizer"], tiny_parts.modules["text_encoder"]
    words, table, before = len(tokenizer), encoder.get_input_embeddings(), {k: v.clone() for k, v in encoder.state_dict().items()}
    adapter, spec = attach(tiny_parts)
    disturb(adapter)
    outputs(sd, tiny_parts, ti.reword(spec, PROBE))
    adapter.detach()
    assert tiny_parts.tokenizers["tokenizer"] is tokenizer and len(tokenizer) == words
    assert encoder.get_input_embeddings() is table
    assert list(encoder.state_dict()) == list(before) and all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


@pytest.mark.parametrize("num_vectors", [1, 5])
def test_exports_load_in_plain_diffusers_and_are_equal(tiny_parts, tmp_path, num_vectors):
    adapter, spec = attach(tiny_parts, num_vectors=num_vectors)
    disturb(adapter)
    target = tmp_path / "thing.safetensors"
    assert ti.word(spec) == "<thing>"
    write_adapter(target, ti.export(adapter.state(), spec, "embedding", sd.card), {"a": "b"}, "embedding", {})
    found = verify(sd, tiny_parts, adapter, target, "embedding", ti.reword(spec, PROBE))
    assert found.layers == found.expected == num_vectors
    assert found.max_difference < 1e-5 < 1e-3 < found.effect
    assert str(found).startswith(f"{num_vectors}/{num_vectors} vectors")


def test_a_damaged_export_is_refused(tiny_parts, tmp_path):
    adapter, spec = attach(tiny_parts)
    disturb(adapter)
    wrong = {n: t * 0.5 for n, t in ti.export(adapter.state(), spec, "embedding", sd.card).items()}
    write_adapter(tmp_path / "thing.safetensors", wrong, {}, "embedding", {})
    with pytest.raises(StudioError, match="did not come back"):
        verify(sd, tiny_parts, adapter, tmp_path / "thing.safetensors", "embedding", ti.reword(spec, PROBE))


def test_a_file_can_be_continued(tiny_parts, tmp_path):
    adapter, spec = attach(tiny_parts)
    disturb(adapter)
    tensors = {n: t.clone() for n, t in ti.export(adapter.state(), spec, "embedding", sd.card).items()}
    write_adapter(tmp_path / "thing.safetensors", tensors, {}, "embedding", {})
    assert ti.describe(tmp_path / "thing.safetensors", sd.card) == {"num_vectors": 3}
    adapter.detach()
    again, _ = attach(tiny_parts)
    again.load(tensors)
    assert torch.equal(*(t for t in (next(iter(again.state().values())), tensors["emb_params"])))
    with pytest.raises(StudioError, match="3 vectors of"):
        again.detach()
        attach(tiny_parts, num_vectors=2)[0].load(tensors)


def test_rows_never_grow_beyond_the_vocabulary(tiny_parts):
    adapter, spec = attach(tiny_parts)
    row = next(iter(adapter.state().values()))
    row.data.mul_(1000)
    sd.encode_text(tiny_parts, [ti.reword(spec, "x")])
    longest = tiny_parts.modules["text_encoder"].get_input_embeddings().weight.norm(dim=1).max()
    assert torch.allclose(row.norm(dim=1), longest.expand(len(row)), rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"token": "two words"}, "one word"),
        ({"token": "<>"}, "letter or digit"),
        ({"token": "x" * 61}, "at most 60"),
    ],
)
def test_bad_words_are_refused(tiny_parts, settings, message):
    with pytest.raises(StudioError, match=message):
        attach(tiny_parts, **settings)


def test_a_word_of_the_vocabulary_is_refused(tiny_parts):
    known = next(w for w in tiny_parts.tokenizers["tokenizer"].get_vocab() if w.isalpha())
    with pytest.raises(StudioError, match="vocabulary already"):
        attach(tiny_parts, token=known)


@pytest.mark.parametrize("count", [0, 17, 100])
def test_the_number_of_vectors_is_bounded(count):
    with pytest.raises(ValueError, match="num_vectors"):
        ti.Spec(num_vectors=count)


@pytest.mark.parametrize(
    ("about", "caption", "expected"),
    [
        ({"trigger": "zwx style"}, "zwx style, a brain", "<zwx-style>, a brain"),
        ({"trigger": "zwx style"}, "A brain in ZWX style", "A brain in <zwx-style>"),
        ({"trigger": "zwx style"}, "a brain", "<zwx-style>, a brain"),
        ({}, "a brain", "<brains>, a brain"),
        ({}, "", "<brains>"),
        ({}, "<brains> on black", "<brains> on black"),
    ],
)
def test_the_word_takes_the_triggers_place_in_captions(about, caption, expected):
    spec = ti.adopt(ti.Spec(), about, ["a brain", "the brain"], "Brains")
    assert ti.reword(spec, caption) == expected


def test_the_word_begins_as_what_most_captions_share():
    assert ti.shared_word(["axial brain slice", "a brain from above", "the head"]) == "brain"
    assert ti.shared_word(["toy brain", "toy car"], beside="toy") == "brain"
    assert ti.shared_word(["", "a"]) == "picture"


def test_long_first_words_are_averaged_and_short_ones_repeated(tiny_parts):
    table, tokenizer = tiny_parts.modules["text_encoder"].get_input_embeddings().weight, tiny_parts.tokenizers["tokenizer"]
    ids = tokenizer("picture", add_special_tokens=False).input_ids
    few, _ = attach(tiny_parts, num_vectors=1)
    assert torch.allclose(next(iter(few.state().values()))[0], table[ids].mean(0), atol=1e-6)
    few.detach()
    many, _ = attach(tiny_parts, num_vectors=len(ids) + 1)
    assert torch.equal(next(iter(many.state().values())), table[[*ids, ids[0]]])


def test_families_without_text_are_refused():
    from dataclasses import replace

    assert ti.supports(sd.card) is None
    assert "reads no text" in ti.supports(replace(sd.card, text=False))
