"""Whether a base has room in this machine's memory, so that what is merged can be drawn with for comparison. No torch here."""

import psutil

from studio import registry
from studio.models.bases import Base
from studio.models.memory_plan import GIB, LIBRARIES_GIB
from studio.models.sizes import read_sizes

COPIES = 1.3  # of the base in fp32: one at a time, and what drawing with it takes


def needed_gib(base: Base) -> float:
    """About how much memory drawing with this base in fp32 takes; 0 where its size cannot be told."""
    sizes = read_sizes(base.path, registry.family(base.family).card)
    return COPIES * sizes.total * 4 / GIB + LIBRARIES_GIB if sizes else 0.0


def has_room(base: Base) -> bool:
    """Whether that much is free now."""
    return needed_gib(base) <= psutil.virtual_memory().available / GIB
