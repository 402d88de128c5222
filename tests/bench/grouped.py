"""A candidate for the recorded steps, timed by gpu.py: LoRA layers that read one input are computed together, by fewer and larger kernels.

An attention's layers to_q, to_k and to_v read the same tensor, and all layers to_k and to_v of a UNet that read the text read the same
text. With their weights side by side, g layers take one product with the base's weights and three with the adapters' factors, and six
backward, where PEFT's take some thirteen for each layer. The numbers are the same but for the order of sums.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from studio.methods.layers import NAME
from studio.train.recorded import Steps, _on

FIRST = 1  # hidden states of the text among a UNet's arguments, behind sample and timestep


@torch.library.custom_op("studio_bench::grouped", mutates_args=())
def grouped(x: Tensor, w: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float, trained: list[Tensor]) -> tuple[Tensor, Tensor]:
    """g layers of one input side by side: y [m, g n] = x w^T + bias + scale (x a_i^T) b_i^T, and scale x a^T [m, g r].

    x [m, k], w [g n, k], bias [g n], a [g r, k], b [g, n, r]; `trained` = the tensors that a and b hold, which get the gradients.
    """
    groups, n, r = b.shape
    h = x @ a.t()
    if scale != 1:
        h.mul_(scale)
    y = torch.nn.functional.linear(x, w, bias)
    if groups == 1:
        return y.addmm_(h, b[0].t()), h
    y.view(-1, groups, n).transpose(0, 1).baddbmm_(h.view(-1, groups, r).transpose(0, 1), b.transpose(1, 2))
    return y, h


@grouped.register_fake
def _(x: Tensor, w: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float, trained: list[Tensor]) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[0], w.shape[0]), x.new_empty(x.shape[0], a.shape[0])


@torch.library.custom_op("studio_bench::grouped_backward", mutates_args=())
def grouped_backward(dy: Tensor, saved: list[Tensor], scale: float, with_dx: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `grouped` by x [m, k] (empty where none is wanted), a [g r, k] and b [g, n, r], saved with w and h."""
    x, w, a, b, h = saved
    groups, n, r = b.shape
    each = dy.view(-1, groups, n).transpose(0, 1)
    db = torch.bmm(each.transpose(1, 2), h.view(-1, groups, r).transpose(0, 1))
    dh = torch.bmm(each, b).transpose(0, 1).reshape(-1, groups * r)
    if scale != 1:
        dh.mul_(scale)
    dx = (dy @ w).addmm_(dh, a) if with_dx else x.new_empty(0)
    return dx, dh.t() @ x, db


@grouped_backward.register_fake
def _(dy: Tensor, saved: list[Tensor], scale: float, with_dx: bool) -> tuple[Tensor, Tensor, Tensor]:
    x, _, a, b, _ = saved
    return torch.empty_like(x) if with_dx else x.new_empty(0), torch.empty_like(a), torch.empty_like(b)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, w, _, a, b, ctx.scale, trained = inputs
    ctx.save_for_backward(x, w, a, b, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.groups = len(trained) // 2


def _gradients(ctx: Any, dy: Tensor, _: Any) -> tuple[Any, ...]:
    with_dx = ctx.needs_input_grad[0]
    dx, da, db = grouped_backward(dy.contiguous(), list(ctx.saved_tensors), ctx.scale, with_dx)
    return dx if with_dx else None, None, None, None, None, None, [*da.chunk(ctx.groups), *db.unbind()]


grouped.register_autograd(_gradients, setup_context=_keep)


class Together(nn.Module):
    """PEFT's LoRA layers of one input and one shape as one layer, whose output is theirs side by side."""

    def __init__(self, layers: list[Any], dtype: torch.dtype) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        bases = [layer.base_layer for layer in layers]
        (n, k), r, device = bases[0].weight.shape, layers[0].r[NAME], bases[0].weight.device
        self.scale = float(layers[0].scaling[NAME])
        self.register_buffer("w", torch.cat([base.weight.data for base in bases]), persistent=False)
        for base, own in zip(bases, self.w.split(n), strict=True):
            base.weight.data = own  # not held twice
        bias = None if bases[0].bias is None else torch.cat([base.bias.data for base in bases])
        self.register_buffer("bias", bias, persistent=False)
        self.register_buffer("a", torch.empty(len(layers) * r, k, dtype=dtype, device=device), persistent=False)
        self.register_buffer("b", torch.empty(len(layers), n, r, dtype=dtype, device=device), persistent=False)

    def trained(self) -> list[Tensor]:
        """The factors of all layers: first each one's A, then each one's B."""
        return [*(layer.lora_A[NAME].weight for layer in self.layers), *(layer.lora_B[NAME].weight for layer in self.layers)]

    def places(self) -> list[Tensor]:
        """Where `trained` is read from, in its order."""
        return [*self.a.chunk(len(self.layers)), *self.b.unbind()]

    def forward(self, x: Tensor) -> Tensor:
        """[..., k] to [..., g n]."""
        y, _ = grouped(x.reshape(-1, x.shape[-1]), self.w, self.bias, self.a, self.b, self.scale, self.trained())
        return y.view(*x.shape[:-1], -1)


class Given(nn.Module):
    """Gives what was computed before, with that of others."""

    given: Tensor | None = None

    def forward(self, _: Tensor) -> Tensor:
        """What was given."""
        return self.given


class GroupedSteps(Steps):
    """Recorded steps whose LoRA layers are computed together, all in the base's own precision."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._dtype = self._run.parts.dtype
        self._single: list[tuple[nn.Module, str, Together]] = []  # (where, by what name, instead of the layer there)
        self._attentions: list[tuple[Any, dict[str, nn.Module]]] = []  # (an attention, layers of its own in the fused way)
        self._text: list[tuple[Together, list[Given]]] = []
        with torch.no_grad():
            self._build()
        places = {id(p): place for g in self.together() for p, place in zip(g.trained(), g.places(), strict=True)}
        self._low = [places.get(id(p), torch.empty_like(p, dtype=self._dtype)) for p in self._params]

    def together(self) -> list[Together]:
        """All groups, those of one layer, too."""
        own = [layer for _, layers in self._attentions for layer in layers.values() if isinstance(layer, Together)]
        return [*own, *(g for _, _, g in self._single), *(g for g, _ in self._text)]

    def _build(self) -> None:
        text: dict[Any, list[Any]] = {}
        for attention in [m for m in self._denoiser.modules() if hasattr(m, "fused_projections") and _has(m, "to_q", "to_k", "to_v")]:
            layers: dict[str, nn.Module] = {}
            if getattr(attention, "is_cross_attention", False):
                layers["to_kv"] = Given()
                text.setdefault(tuple(attention.to_k.base_layer.weight.shape), []).append((attention, layers["to_kv"]))
                self._single.append((attention, "to_q", Together([attention.to_q], self._dtype)))
            else:
                layers["to_qkv"] = Together([attention.to_q, attention.to_k, attention.to_v], self._dtype)
            if _has(attention, "add_q_proj", "add_k_proj", "add_v_proj"):
                added = [attention.add_q_proj, attention.add_k_proj, attention.add_v_proj]
                layers["to_added_qkv"] = Together(added, self._dtype)
            self._attentions.append((attention, layers))
            ends = [(attention.to_out, "0") if getattr(attention, "to_out", None) is not None else None, (attention, "to_add_out")]
            for where, name in filter(None, ends):
                if _has(where, name):
                    self._single.append((where, name, Together([getattr(where, name)], self._dtype)))
        for members in text.values():
            both = [layer for attention, _ in members for layer in (attention.to_k, attention.to_v)]
            self._text.append((Together(both, self._dtype), [given for _, given in members]))

    def _compute(self, *args: Any) -> Any:
        with self._fused():
            return super()._compute(*args)

    @contextmanager
    def _fused(self) -> Iterator[None]:
        """Within: the denoiser computes by the groups."""
        from diffusers.models.attention_processor import Attention, FusedAttnProcessor2_0

        processors = [attention.processor for attention, _ in self._attentions]
        singles = [(where, name, getattr(where, name)) for where, name, _ in self._single]
        hook = self._denoiser.register_forward_pre_hook(self._read_text, with_kwargs=True)
        for attention, layers in self._attentions:
            for name, layer in layers.items():
                attention.add_module(name, layer)
            attention.fused_projections = True
            if isinstance(attention, Attention):
                attention.processor = FusedAttnProcessor2_0()
        for where, name, layer in self._single:
            setattr(where, name, layer)
        try:
            yield
        finally:
            hook.remove()
            for (attention, layers), processor in zip(self._attentions, processors, strict=True):
                attention.fused_projections, attention.processor = False, processor
                for name in layers:
                    delattr(attention, name)
            for where, name, layer in singles:
                setattr(where, name, layer)

    def _read_text(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before a UNet: what all its layers make of the text."""
        for group, places in self._text:
            text = kwargs["encoder_hidden_states"] if "encoder_hidden_states" in kwargs else args[1 + FIRST]
            for place, own in zip(places, group(text).chunk(len(places), dim=-1), strict=True):
                place.given = own


def gradient_error(run: Any) -> float:
    """How far a step's gradients by groups are from those of PEFT's layers, as a share of their length; the adapter is drawn anew."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in run.adapter.state().items():
        if name.endswith("lora_B.weight"):  # at zero nothing reaches A
            tensor.data.copy_(torch.randn(tensor.shape, generator=generator) * 0.02)
    batch = _on(run.draw(0), run.parts.device)
    theirs, ours = (torch.cat([g.flatten() for g in kind(run)._compute(batch, 1, 1.0)[1]]) for kind in (Steps, GroupedSteps))
    return float((ours - theirs).norm() / theirs.norm())


def _has(module: Any, *names: str) -> bool:
    """Whether these layers are there, each with a LoRA."""
    return all(hasattr(getattr(module, name, None), "lora_A") for name in names)
