"""Others' adapter files as people have them: which method takes one in, and one line that is true where none does."""

import pytest
import torch

from studio import registry
from studio.errors import StudioError
from studio.families import sd
from studio.methods import lycoris_files, several
from studio.methods.describing import describe_file
from studio.methods.imports import rename
from studio.store import write_tensors

LAYERS = ("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k")


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape))) * 0.3


def kohya(layer):
    return "lora_unet_" + layer.replace(".", "_")


def weight(parts, layer):
    return parts.modules["unet"].get_submodule(layer).weight


def lora(parts, rank=4):
    out = {}
    for layer in LAYERS:
        outputs, inputs = weight(parts, layer).shape
        out |= {f"{kohya(layer)}.lora_down.weight": random(rank, inputs), f"{kohya(layer)}.lora_up.weight": random(outputs, rank)}
        out[f"{kohya(layer)}.alpha"] = torch.tensor(float(rank))
    return out


def loha(parts, ranks):
    out = {}
    for layer, rank in zip(LAYERS, ranks, strict=True):
        outputs, inputs = weight(parts, layer).shape
        for i in (1, 2):
            out |= {
                f"{kohya(layer)}.hada_w{i}_a": random(outputs, rank, seed=i),
                f"{kohya(layer)}.hada_w{i}_b": random(rank, inputs, seed=i),
            }
        out[f"{kohya(layer)}.alpha"] = torch.tensor(1.0)
    return out


def take_in(parts, tensors, file):
    write_tensors(file, tensors)
    spec = describe_file(file, sd.card)
    adapter = several.attach(parts, [spec], sd.card, 0)
    try:
        return spec, adapter.load(tensors), {n: t.detach().clone() for n, t in adapter.state().items()}
    finally:
        adapter.detach()


def test_a_loha_of_several_ranks_comes_in_exactly(tiny_parts, tmp_path):
    tensors = loha(tiny_parts, (4, 2))
    spec, words, state = take_in(tiny_parts, tensors, tmp_path / "a.safetensors")
    assert spec.kind == "loha" and spec.rank == 4 and words == "2/2 layers"
    for layer, rank in zip(LAYERS, (4, 2), strict=True):
        ours = [state[f"unet.{layer}.hada_w{i}_a"] @ state[f"unet.{layer}.hada_w{i}_b"] for i in (1, 2)]
        theirs = [tensors[f"{kohya(layer)}.hada_w{i}_a"] @ tensors[f"{kohya(layer)}.hada_w{i}_b"] for i in (1, 2)]
        torch.testing.assert_close(ours[0] * ours[1] * spec.scale, theirs[0] * theirs[1] * (1.0 / rank))


def test_a_lokr_of_several_ranks_comes_in_exactly(tiny_parts, tmp_path):
    tensors = {}
    for layer, rank in zip(LAYERS, (1, 2), strict=True):
        outputs, inputs = weight(tiny_parts, layer).shape
        factors = {"lokr_w1": (4, 4), "lokr_w2_a": (outputs // 4, rank), "lokr_w2_b": (rank, inputs // 4)}
        tensors |= {f"{kohya(layer)}.{part}": random(*shape) for part, shape in factors.items()} | {
            f"{kohya(layer)}.alpha": torch.tensor(2.0)
        }
    write_tensors(tmp_path / "a.safetensors", tensors, {"ss_network_args": '{"factor": 4}'})
    spec = describe_file(tmp_path / "a.safetensors", sd.card)
    adapter = several.attach(tiny_parts, [spec], sd.card, 0)
    try:
        assert (spec.kind, spec.rank, adapter.load(tensors)) == ("lokr", 2, "2/2 layers")
        state = adapter.state()
        for layer, rank in zip(LAYERS, (1, 2), strict=True):
            own = {part: state.get(f"unet.{layer}.{part}") for part in ("lokr_w1", "lokr_w2", "lokr_w2_a", "lokr_w2_b")}
            second = own["lokr_w2"] if own["lokr_w2"] is not None else own["lokr_w2_a"] @ own["lokr_w2_b"]
            theirs = tensors[f"{kohya(layer)}.lokr_w2_a"] @ tensors[f"{kohya(layer)}.lokr_w2_b"]
            wanted = torch.kron(tensors[f"{kohya(layer)}.lokr_w1"], theirs) * (2.0 / rank)
            torch.testing.assert_close(torch.kron(own["lokr_w1"], second) * spec.scale, wanted)
    finally:
        adapter.detach()


def test_a_small_layer_of_a_lokr_is_whole_at_the_rank_of_the_others():
    own = {"lokr_w1": random(2, 2), "lokr_w2_a": random(3, 1), "lokr_w2_b": random(1, 4)}
    whole = lycoris_files._at_rank(own, 2)
    assert whole.keys() == {"lokr_w1", "lokr_w2"}
    torch.testing.assert_close(whole["lokr_w2"], own["lokr_w2_a"] @ own["lokr_w2_b"])


def test_what_cannot_be_taken_in_says_what_it_is(tiny_parts, tmp_path):
    plain, file = lora(tiny_parts), tmp_path / "a.safetensors"
    assert take_in(tiny_parts, plain, file)[1] == "2/2 layers"
    dora = plain | {f"{kohya(layer)}.dora_scale": torch.ones(1, 4) for layer in LAYERS}
    xl = {"lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k" + end: t for end, t in (
        (".lora_down.weight", random(4, 2048)), (".lora_up.weight", random(640, 4)), (".alpha", torch.tensor(4.0)))}  # fmt: skip
    flux = {
        f"transformer.single_transformer_blocks.0.attn.to_q.lora_{x}.weight": random(*s) for x, s in (("A", (4, 3072)), ("B", (3072, 4)))
    }
    nan = {name: t * float("nan") if "up" in name else t for name, t in plain.items()}
    whole = {f"{kohya(layer)}.diff": torch.zeros_like(weight(tiny_parts, layer)) for layer in LAYERS}
    for tensors, words in (
        (
            dora,
            "this is an adapter (DoRA) for Stable Diffusion in kohya layout, 2 layers, which cannot be continued here: merge it",
        ),
        (xl, "it was made for Stable Diffusion XL: choose that base"),
        (flux, "it was made for FLUX.1: choose that base"),
        (nan, "numbers that are none: NaN or infinite"),
        (whole, "this is an adapter (full difference) for Stable Diffusion in LyCORIS layout, 2 layers, which cannot be continued"),
    ):
        with pytest.raises(StudioError) as refused:
            take_in(tiny_parts, tensors, file)
        assert words in str(refused.value) and "\n" not in str(refused.value), str(refused.value)


def test_half_a_file_is_taken_in_where_that_is_wished_and_the_rest_is_listed(tiny_parts, tmp_path):
    plain = lora(tiny_parts)
    odd = {name.replace("down_blocks_1", "down_blocks_7"): t.clone() for name, t in plain.items() if "to_k" in name}
    write_tensors(tmp_path / "a.safetensors", plain | odd)
    adapter = several.attach(tiny_parts, [describe_file(tmp_path / "a.safetensors", sd.card)], sd.card, 0)
    try:
        with pytest.raises(StudioError, match="2/3 layers; not on this base: lora_unet_down_blocks_7"):
            adapter.load(plain | odd)
        assert adapter.load(plain | odd, partly=True).startswith("2/3 layers; not on this base: lora_unet_down_blocks_7")
    finally:
        adapter.detach()


LAYER = "lora_unet_mid_block_attentions_0_proj_in"
PAIR = {f"{LAYER}.lora_down.weight": torch.ones(2, 64), f"{LAYER}.lora_up.weight": torch.ones(64, 2)}
PEFT = "base_model.model.mid_block.attentions.0.proj_in"
ODD = {  # tensors -> what is said of the file where it is to be continued
    "NaN": ({n: t * float("nan") for n, t in PAIR.items()}, "can be read .*NaN or infinite.*: fetch or export the file again"),
    "an alpha that is none": (PAIR | {f"{LAYER}.alpha": torch.tensor(float("nan"))}, "can be read .*NaN or infinite"),
    "packed": ({n: t.to(torch.int8) for n, t in PAIR.items()}, "can be read .*whole numbers, packed"),
    "half of it": (dict(list(PAIR.items())[:1]), "can be read .*one of its two factors is missing"),
    "the other half": (dict(list(PAIR.items())[1:]), "of each of its layers one of its two factors is missing"),
    "of two ranks": (PAIR | {f"{LAYER}.lora_up.weight": torch.ones(64, 3)}, "can be read .*its factors do not belong together"),
    "of one dimension": ({n: t.flatten() for n, t in PAIR.items()}, "can be read .*its factors do not belong together"),
    "for the refiner": (
        {f"lora_unet_input_blocks_4_1_transformer_blocks_3_attn2_to_k.lora_{x}.weight": torch.ones(*s)
         for x, s in (("down", (2, 1280)), ("up", (8, 2)))},
        "it was made for the Stable Diffusion XL refiner: choose that base",
    ),
    "OFT": ({f"{PEFT}.oft_R.weight": torch.ones(4, 28)}, "an OFT is continued from its run, not from a file"),
    "BOFT": ({f"{PEFT}.boft_R": torch.ones(1, 8, 8, 8), f"{PEFT}.boft_s": torch.ones(64, 1)}, r"an adapter \(BOFT\) .* not read here"),
    "IA3": ({f"{PEFT}.ia3_l": torch.ones(64, 1)}, r"this is an adapter \(IA3\) .* not read here"),
    "VeRA": ({f"{PEFT}.vera_lambda_{x}": torch.ones(64) for x in "bd"}, r"this is an adapter \(VeRA\) .* not read here"),
    "a word for XL": ({"clip_l": torch.ones(2, 768), "clip_g": torch.ones(2, 1280)}, "no learned word of .* has clip_g, clip_l: give"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_what_cannot_be_continued_says_why_and_blames_no_base(tiny_parts, tmp_path, name):
    tensors, words = ODD[name]
    write_tensors(tmp_path / "x.safetensors", tensors)

    def go_on():
        spec = describe_file(tmp_path / "x.safetensors", sd.card)
        rename(tensors, tiny_parts.modules, registry.method(spec.kind).KIND.put)

    with pytest.raises(StudioError, match=words) as told:
        go_on()
    assert "\n" not in str(told.value) and ("choose the base" in str(told.value)) is False


def test_what_belongs_to_no_layer_is_counted(tiny_parts):
    width = tiny_parts.modules["unet"].mid_block.attentions[0].proj_in.weight.shape[0]
    pair = {n: t[:, :width] if t.shape[1] > 2 else t[:width] for n, t in PAIR.items()}
    more = {"bundle_emb.sks.string_to_param.*": torch.ones(2, 32), "conv_out.weight": torch.ones(3)}
    told = rename(pair | more, tiny_parts.modules).words()
    assert told == "1/1 layers; not used: 2 more of its tensors, first bundle_emb.sks.string_to_param.*"
