"""Arithmetic on LoRAs: several as one, exactly, and one at a smaller rank, by its singular values (Eckart & Young 1936)."""

from typing import TYPE_CHECKING

from studio.errors import StudioError

if TYPE_CHECKING:
    from torch import Tensor

    State = dict[str, Tensor]


def layers_of(state: "State") -> list[str]:
    """The layers of a LoRA's state."""
    return [n.removesuffix(".lora_A.weight") for n in state if n.endswith(".lora_A.weight")]


def together(members: "list[tuple[State, float]]") -> "tuple[State, int]":
    """(state, rank) of one LoRA at scale 1 that does what all members (state at scale 1, weight) do: their products side by side.

    sum_i w_i B_i A_i = [w_1 B_1 | w_2 B_2 | …] [A_1; A_2; …]; a layer that a member has not counts as zero there.
    StudioError where their bases differ.
    """
    import torch

    ranks = [next(iter(s[f"{n}.lora_A.weight"].shape[0] for n in layers_of(s)), 0) for s, _ in members]
    out: State = {}
    for layer in dict.fromkeys(n for state, _ in members for n in layers_of(state)):
        first = next(state for state, _ in members if f"{layer}.lora_A.weight" in state)
        like_down, like_up = first[f"{layer}.lora_A.weight"], first[f"{layer}.lora_B.weight"]
        downs, ups = [], []
        for (state, weight), rank in zip(members, ranks, strict=True):
            down, up = state.get(f"{layer}.lora_A.weight"), state.get(f"{layer}.lora_B.weight")
            if down is not None and (down.shape[1:] != like_down.shape[1:] or up.shape[0] != like_up.shape[0]):
                raise StudioError(f"layer {layer}: the adapters are of different base models there: merge adapters of one base")
            downs.append(down if down is not None else like_down.new_zeros(rank, *like_down.shape[1:]))
            ups.append(up * weight if up is not None else like_up.new_zeros(like_up.shape[0], rank, *like_up.shape[2:]))
        out |= {f"{layer}.lora_A.weight": torch.cat(downs), f"{layer}.lora_B.weight": torch.cat(ups, 1)}
    return out, sum(ranks)


def resize(state: "State", rank: int) -> "tuple[State, float]":
    """(state, error) of the LoRA of `rank` nearest to one at scale 1, in the Frobenius norm; error = |what is lost| / |all|.

    With up = Q R and down^T = P S, the singular values of up down are those of the small R S^T.
    """
    import torch

    out: State = {}
    whole = lost = 0.0
    for layer in layers_of(state):
        down, up = state[f"{layer}.lora_A.weight"].double(), state[f"{layer}.lora_B.weight"].double()
        q, r = torch.linalg.qr(up.flatten(1))
        p, s = torch.linalg.qr(down.flatten(1).T)
        u, values, vh = torch.linalg.svd(r @ s.T)
        kept = min(rank, len(values))
        whole += float(values.square().sum())
        lost += float(values[kept:].square().sum())
        root = values[:kept].sqrt()
        new_up, new_down = up.new_zeros(up.shape[0], rank), down.new_zeros(rank, p.shape[0])
        new_up[:, :kept], new_down[:kept] = (q @ u[:, :kept]) * root, root[:, None] * (vh[:kept] @ p.T)
        out[f"{layer}.lora_A.weight"] = new_down.float().reshape(rank, *down.shape[1:])
        out[f"{layer}.lora_B.weight"] = new_up.float().reshape(up.shape[0], rank, *up.shape[2:])
    return out, (lost / whole) ** 0.5 if whole else 0.0


def difference(ours: "State", members: "list[tuple[State, float]]") -> float:
    """The largest difference of any number of any layer's change of weights from the sum of the members', by their full products."""
    worst = 0.0
    for layer in layers_of(ours):
        change = _product(ours, layer)
        for state, weight in members:
            if f"{layer}.lora_A.weight" in state:
                change = change - weight * _product(state, layer)
        worst = max(worst, float(change.abs().max()))
    return worst


def _product(state: "State", layer: str) -> "Tensor":
    return state[f"{layer}.lora_B.weight"].flatten(1).double() @ state[f"{layer}.lora_A.weight"].flatten(1).double()
