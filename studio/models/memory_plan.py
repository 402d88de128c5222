"""The memory plan of a base: what training and drawing on it need, by its headers, and what is done so that it fits. No torch here."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from studio.models.facts import GIB, Memory
from studio.models.sizes import Sizes

LIBRARIES_GIB = 0.4
DRAWN_VALUES = 3 * 256  # per pixel: the widest feature maps of all are the autoencoder's at full size, three of 256 channels at once
DRAWN_BLOCKS = 8  # of what training keeps, drawing holds the part of one block, or of one level of a UNet
WEIGHTS_FACTOR = 1.1  # of drawing: buffers, casts, what the allocator rounds up
RECORDED_SHARE = 0.9  # of the memory, at most, where steps are recorded: each shape of batch adds a little
BYTES_BY_BITS = {8: 1.02, 4: 0.57}  # per number that is kept in so many bits, its scales included
VISITS = "more before and between"  # of a plan's parts: reading captions and drawing, where they take more than training does
TEXT_ON_HOST = "captions are read by the processor, since the text encoders do not fit on the device"
TRAINED_BYTES = {"adamw": 20, "adamw8bit": 14}  # per trained number: itself, gradient, average, two moments


@dataclass(frozen=True)
class Ask:
    """What of a run's settings decides its memory."""

    trained: float  # numbers
    batch: int = 1  # pictures a step
    micro_batch: int | None = None  # pictures at once; None = as many as fit
    size_px: int | None = None
    optimizer: str = "adamw"
    bytes_per_number: int = 2
    text_is_live: bool = False  # a text encoder is in the gradient
    checkpointing: str = "auto"  # auto, on, off
    offload: str = "auto"
    bits: str = "auto"  # auto, 16, 8, 4
    can_quantise: bool = False  # the extra is installed, and the device knows it
    recorded: str = "auto"
    previews: bool = True


@dataclass(frozen=True)
class Plan:
    """What is done, and what it needs."""

    checkpointing: bool
    offload: bool  # text encoders and autoencoder leave the device after caching; for pictures each comes back while it is needed
    bits: int  # of the frozen base's numbers: 16 (its own precision), 8, 4
    peak_gib: float
    parts_gib: dict[str, float]  # weights, encoders, training, activations, libraries
    fits: bool | None  # None = not known
    recorded: bool = False  # steps are recorded as CUDA graphs, whose memory is kept while pictures are drawn
    text_on_host: bool = False  # text encoders read captions where they wait, for the device is too small for them
    micro_batch: int | None = None  # pictures at once where the batch is cut so that it fits; None = as the settings say

    def record(self) -> dict[str, Any]:
        """As kept in a run's folder."""
        return asdict(self)

    def words(self) -> str:
        """What is done, on one line."""
        done = ["gradient checkpointing"] if self.checkpointing else []
        done += ["text encoders and autoencoder leave the device after caching"] if self.offload else []
        done += [TEXT_ON_HOST] if self.text_on_host else []
        done += [f"batches in parts of {self.micro_batch}"] if self.micro_batch else []
        done += [f"base in {self.bits} bits"] if self.bits < 16 else []
        done += ["steps recorded"] if self.recorded else []
        return ", ".join(done) or "everything stays on the device, no gradient checkpointing"

    def details(self) -> str:
        """Where the memory goes, on one line."""
        return ", ".join(f"{name} {gib:.1f}" for name, gib in self.parts_gib.items() if gib >= 0.05) + " GiB"


def plan(sizes: Sizes, ask: Ask, here: Memory) -> Plan:
    """The plan that costs the least time of those that fit; where none does, the smallest, which says so.

    A batch is cut only where checkpointing does not help (small parts leave a GPU idle). Bits are saved last: they change what is computed.
    """
    on_gpu = here.where != "this machine"
    offloads = {"on": [True], "off": [False]}.get(ask.offload, [on_gpu and not ask.text_is_live])
    checkpoints = {"on": [True], "off": [False]}.get(ask.checkpointing, [False, True])
    bits = [int(ask.bits)] if ask.bits != "auto" else [16, 8, 4] if ask.can_quantise else [16]
    whole = ask.micro_batch or ask.batch
    parts = _halves(whole) if on_gpu and ask.micro_batch is None else [whole]
    tried = [
        replace(_weigh(sizes, replace(ask, micro_batch=n), here, c, o and on_gpu, b), micro_batch=n if n < whole else None)
        for b in bits for n in parts for o in offloads for c in checkpoints
    ]  # fmt: skip
    made = [_record(p, sizes, ask, here) for p in tried] if on_gpu else tried
    return next((p for p in made if p.fits), made[-1])


def _halves(count: int) -> list[int]:
    """`count`, and what is left of it on being halved again and again, down to 1."""
    return [count, *_halves(count // 2)] if count > 1 else [count]


def _record(plan: Plan, sizes: Sizes, ask: Ask, here: Memory) -> Plan:
    """A plan with its steps recorded, where that can be and there is room: what they keep stays while the rest comes for previews."""
    can = ask.recorded != "off" and not (ask.text_is_live or plan.checkpointing or plan.bits < 16)
    previews, on_host = _drawing_gib(sizes, ask), plan.text_on_host
    steps = {name: gib for name, gib in plan.parts_gib.items() if name != VISITS}
    if plan.offload and ask.previews:
        texts, vae = (numbers * ask.bytes_per_number / GIB for numbers in (sizes.text_encoders, sizes.vae))
        previews += vae
        on_host = on_host or (ask.recorded == "on" and sum(steps.values()) + texts > here.total_gib)
        previews = previews if on_host else max(previews, texts)
    parts = steps | {"previews": round(previews, 3)}
    peak = round(sum(parts.values()), 3)
    if not can or (ask.recorded == "auto" and peak > here.total_gib * RECORDED_SHARE):
        return plan
    return replace(plan, recorded=True, peak_gib=peak, parts_gib=parts, fits=peak <= here.total_gib, text_on_host=on_host)


def _drawing_gib(sizes: Sizes, ask: Ask) -> float:
    """What drawing a picture takes beside the weights; 0 without previews, or in the space of pixels."""
    return DRAWN_VALUES * (ask.size_px or sizes.size_px) ** 2 * ask.bytes_per_number / GIB if ask.previews and sizes.vae else 0.0


def _base_bytes(sizes: Sizes, bits: int, bytes_per_number: int) -> float:
    """What the denoiser takes with its blocks' linear layers in so many bits; 16 = its own precision."""
    few = 0.0 if bits == 16 else sizes.denoiser if sizes.quantisable is None else sizes.quantisable
    return (sizes.denoiser - few) * bytes_per_number + few * BYTES_BY_BITS.get(bits, 0.0)


def _weigh(sizes: Sizes, ask: Ask, here: Memory, checkpointing: bool, offload: bool, bits: int) -> Plan:
    base = _base_bytes(sizes, bits, ask.bytes_per_number) / GIB
    texts, vae = (numbers * ask.bytes_per_number / GIB for numbers in (sizes.text_encoders, sizes.vae))
    values = sizes.values(ask.size_px) * (sizes.kept if checkpointing else 1)
    activations = values * ask.micro_batch * ask.bytes_per_number / GIB
    training = ask.trained * TRAINED_BYTES[ask.optimizer] / GIB
    drawing = _drawing_gib(sizes, ask)
    resident = (texts if ask.text_is_live else 0.0) if offload else texts + vae
    working = max(activations, 0.0 if offload else drawing)
    peak = LIBRARIES_GIB + base + resident + training + working
    on_host = False
    if offload:  # each comes alone while it is needed; what is trained stays
        on_host = not ask.text_is_live and LIBRARIES_GIB + training + texts > here.total_gib
        peak = max(peak, LIBRARIES_GIB + training + max(vae + drawing, 0.0 if on_host else texts))
    parts = {"base": base, "encoders": resident, "training": training, "activations": working, "libraries": LIBRARIES_GIB}
    parts[VISITS] = peak - sum(parts.values())
    rounded = {name: round(gib, 3) for name, gib in parts.items()}
    return Plan(checkpointing, offload, bits, round(peak, 3), rounded, peak <= here.total_gib, text_on_host=on_host)


@dataclass(frozen=True)
class Drawing:
    """How pictures are drawn so that they fit the memory that is free."""

    by_parts: bool = False  # one component on the device at a time
    text_on_host: bool = False
    bits: int = 16
    peak_gib: float = 0.0
    fits: bool = True

    def words(self) -> str:
        """What is done, on one line; empty where nothing has to be."""
        done = ["components come to the device one at a time"] if self.by_parts else []
        done += [TEXT_ON_HOST] if self.text_on_host else []
        done += [f"base in {self.bits} bits"] if self.bits < 16 else []
        return ", ".join(done)


def plan_drawing(sizes: Sizes, px: int, count: int, bytes_per_value: int, free_bytes: float, can_quantise: bool = False) -> Drawing:
    """How `count` pictures at once of `px` a side are drawn: the quickest way that fits; where none does, the smallest, which says so."""
    whole = drawing_bytes(sizes.total, px, px, count, bytes_per_value)
    if whole <= free_bytes:
        return Drawing(peak_gib=round(whole / GIB, 3))
    texts = WEIGHTS_FACTOR * sizes.text_encoders * bytes_per_value
    on_host = texts > free_bytes
    working = sizes.values(px) * count * bytes_per_value / max(DRAWN_BLOCKS, sizes.depth)
    picture = drawing_bytes(sizes.vae, px, px, count, bytes_per_value)
    for bits in (16, 8, 4) if can_quantise else (16,):
        denoiser = WEIGHTS_FACTOR * _base_bytes(sizes, bits, bytes_per_value) + working
        peak = max(denoiser, picture, 0.0 if on_host else texts)
        found = Drawing(True, on_host, bits, round(peak / GIB, 3), peak <= free_bytes)
        if found.fits:
            break
    return found


def drawing_bytes(weights: float, width: int, height: int, count: int, bytes_per_value: int) -> int:
    """Memory that drawing `count` pictures at once needs; `weights`: values still to be loaded, 0 when they are there."""
    return round((WEIGHTS_FACTOR * weights + DRAWN_VALUES * width * height * count) * bytes_per_value)
