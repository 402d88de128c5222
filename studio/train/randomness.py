"""All randomness of a run, as a function of (run seed, what for, step, position): step is the only clock."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator


def generator(seed: int, *purpose: str | int) -> "Generator":
    """A CPU generator that depends on nothing but `seed` and `purpose`."""
    import torch

    digest = hashlib.sha256("/".join(map(str, (seed, *purpose))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
