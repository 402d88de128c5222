"""The memory plan: counted from headers, near published counts, as little as needed, and obeyed by the process that trains."""

import json

import pytest
import torch

from studio.families import sd
from studio.models.facts import GIB, Memory
from studio.models.memory_plan import Ask, plan, plan_drawing
from studio.models.sizes import Sizes, read_sizes
from studio.train.memory import memory_of, obey, quantise
from tests.fixtures.shelf import SHELF, sparse_safetensors

SD15, SDXL = Sizes(8.6e8, 1.23e8, 8.4e7, 64, 512), Sizes(2.567e9, 8.17e8, 8.4e7, 128, 1024)
FLUX = Sizes(1.19e10, 4.9e9, 8.4e7, 128, 1024, width=3072, depth=57)
LORA = {"bytes_per_number": 2, "previews": False}


def gpu(gib):
    return Memory(gib, gib, "Test GPU", 2)


@pytest.mark.parametrize(
    ("sizes", "px", "checkpointing", "counted_gb"),
    [(SD15, None, "off", 3.1), (SD15, None, "on", 2.4), (SDXL, None, "off", 12.0), (SDXL, None, "on", 6.5), (FLUX, 512, "off", 32.5),
     (FLUX, 512, "on", 25.1), (FLUX, 1024, "off", 48.3), (FLUX, 1024, "on", 26.2)],
)  # fmt: skip
def test_it_is_near_what_was_counted_layer_by_layer(sizes, px, checkpointing, counted_gb):
    """Counts of weights and saved activations with flash attention, one picture, text and pictures cached, in GB."""
    ask = Ask(sizes.denoiser * 0.003, size_px=px, checkpointing=checkpointing, offload="on", **LORA)
    assert counted_gb * 0.9 / 1.074 < plan(sizes, ask, gpu(1000)).peak_gib < counted_gb * 1.35 / 1.074


def test_only_what_is_needed_is_done():
    asked = {"trained": SDXL.denoiser * 0.003, **LORA}
    roomy, tight = plan(SDXL, Ask(**asked), gpu(24)), plan(SDXL, Ask(**asked), gpu(8))
    assert (roomy.checkpointing, roomy.offload, roomy.bits, roomy.fits) == (False, True, 16, True)
    assert (tight.checkpointing, tight.offload, tight.bits, tight.fits) == (True, True, 16, True)
    assert "gradient checkpointing" in tight.words() and "base 4.8" in tight.details()
    too_large = plan(FLUX, Ask(3e7, **LORA), gpu(24))
    assert too_large.fits is False and too_large.bits == 16
    quantised = plan(FLUX, Ask(3e7, can_quantise=True, **LORA), gpu(24))
    assert quantised.fits and quantised.bits == 8 and plan(FLUX, Ask(3e7, can_quantise=True, **LORA), gpu(12)).bits == 4
    live = plan(SDXL, Ask(**asked, text_is_live=True), gpu(24))
    assert not live.offload and live.peak_gib > roomy.peak_gib
    here = plan(SDXL, Ask(trained=1e6, bytes_per_number=4), Memory(64, 64, "this machine", 4))
    assert not here.offload, "the machine's memory is one place"


def test_what_is_asked_for_is_done_whatever_it_costs():
    for checkpointing, offload, bits in (("on", "off", "8"), ("off", "on", "4"), ("on", "on", "16")):
        made = plan(SD15, Ask(1e6, checkpointing=checkpointing, offload=offload, bits=bits, **LORA), gpu(80))
        assert (made.checkpointing, made.offload, made.bits) == (checkpointing == "on", offload == "on", int(bits))


def test_everything_that_grows_is_counted():
    first = plan(SD15, Ask(3e6, checkpointing="off", offload="off", **LORA), gpu(80)).peak_gib
    for more in ({"batch": 4}, {"micro_batch": 4}, {"size_px": 1024}, {"trained": 8.6e8}, {"bytes_per_number": 4}):
        asked = {"trained": 3e6, "checkpointing": "off", "offload": "off", **LORA} | more
        assert plan(SD15, Ask(**asked), gpu(80)).peak_gib > first, more
    assert plan_drawing(FLUX, 1024, 1, 2, 24 * GIB).by_parts and not plan_drawing(SD15, 512, 1, 2, 24 * GIB).by_parts


def test_sizes_are_read_from_headers_alone(tmp_path, tiny_folder):
    sizes = read_sizes(tiny_folder, sd.card)
    assert sizes.text_encoders > 0 and sizes.vae > 0 and sizes.width == 0
    file = sparse_safetensors(tmp_path / "x.safetensors", SHELF["sd15.safetensors"][0] | {"model_ema.x": [10**9]})
    whole = read_sizes(file, sd.card)
    assert whole.denoiser == 320 * 4 * 9 + 320 * 768 and whole.text_encoders == 49408 * 768 and whole.vae == 128 * 3 * 9
    assert read_sizes(tmp_path / "none.safetensors", sd.card) is None
    (tmp_path / "odd").mkdir()
    assert read_sizes(tmp_path / "odd", sd.card) is None


def test_a_transformer_is_measured_by_its_blocks(tmp_path):
    from studio.families import flux

    folder = tmp_path / "flux"
    names = {
        f"{kind}.{i}.attn.to_q.weight": [3072, 3072]
        for kind, n in (("transformer_blocks", 19), ("single_transformer_blocks", 38))
        for i in range(n)
    }
    sparse_safetensors(folder / "transformer" / "diffusion_pytorch_model.safetensors", names)
    (folder / "transformer" / "config.json").write_text(json.dumps({"in_channels": 64, "patch_size": 1}))
    (folder / "vae").mkdir()
    (folder / "vae" / "config.json").write_text(json.dumps({"latent_channels": 16, "block_out_channels": [1, 1, 1, 1]}))
    sizes = read_sizes(folder, flux.card)
    assert (sizes.width, sizes.depth, sizes.patch, sizes.side, sizes.size_px) == (3072, 57, 2, 128, 1024)


def test_checkpointing_changes_no_gradient(tiny_parts):
    from studio.methods import lora

    adapter = lora.attach(tiny_parts, lora.Spec(rank=4, targets="attention"), sd.card, 0)
    for i, tensor in enumerate(adapter.state().values()):
        tensor.data.normal_(generator=torch.Generator().manual_seed(i), std=0.1)
    z, t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([10, 900])
    cond = sd.collate(sd.encode_text(tiny_parts, ["a", "b"]))
    found = []
    for made in (plan(SD15, Ask(1e6, checkpointing=c, **LORA), gpu(80)) for c in ("off", "on")):
        obey(made, tiny_parts, sd.card)
        sd.predict(tiny_parts, z, t, cond).square().sum().backward()
        found.append([tensor.grad.clone() for tensor in adapter.state().values()])
        for tensor in adapter.state().values():
            tensor.grad = None
    assert any(m.gradient_checkpointing for m in tiny_parts.modules["unet"].modules() if hasattr(m, "gradient_checkpointing"))
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in zip(*found, strict=True)) and any(g.any() for g in found[0])


def test_components_are_where_they_are_needed(tiny_parts):
    tiny_parts.host = torch.device("meta")  # a place where nothing can be computed shows what has left

    def here():
        return {n for n, m in tiny_parts.modules.items() if next(m.parameters()).device.type == "cpu"}

    assert here() == {"unet", "vae", "text_encoder"}
    tiny_parts.need("unet", "text_encoder")
    assert here() == {"unet", "text_encoder"}
    tiny_parts.need("unet")
    assert here() == {"unet"}
    tiny_parts.host = None
    tiny_parts.need("vae")
    assert here() == {"unet"}, "without a host nothing moves"


def test_the_memory_of_the_machine_is_known():
    here = memory_of(torch.device("cpu"))
    assert 0 < here.free_gib <= here.total_gib and here.where == "this machine"


def test_a_base_in_four_bits_is_trained_on(tiny_parts):
    pytest.importorskip("bitsandbytes", reason="the extra quant is not installed")
    from studio.methods import lora

    weights = sum(p.numel() * p.element_size() for p in tiny_parts.modules["unet"].parameters())
    assert quantise(tiny_parts.modules["unet"], 4, torch.device("cpu"), torch.float32) > 0
    assert sum(p.numel() * p.element_size() for p in tiny_parts.modules["unet"].parameters()) < weights
    adapter = lora.attach(tiny_parts, lora.Spec(rank=4, targets="attention"), sd.card, 0)
    z, t = torch.randn(1, 4, 8, 8), torch.tensor([10])
    sd.predict(tiny_parts, z, t, sd.collate(sd.encode_text(tiny_parts, ["a"]))).square().sum().backward()
    assert any(tensor.grad is not None and tensor.grad.any() for tensor in adapter.state().values())
