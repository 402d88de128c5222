"""Training steps as CUDA graphs: what a step asks of a GPU, recorded once for each shape of batch, and then started as one piece."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from studio.errors import one_line
from studio.families.base import Parts
from studio.methods import several
from studio.spec import RunSpec
from studio.train.objective import Batch, batch_loss

if TYPE_CHECKING:
    from torch import Tensor

MAX_SHAPES = 12  # of batches; further ones are launched piece by piece
WARM_UPS = 2  # before recording: libraries choose their kernels, and make their workspaces
MAX_VARIANTS = 128  # of one compiled block: its shapes, with and without gradients
CONVOLUTION_BLOCKS = frozenset({"ResnetBlock2D"})  # of UNets; what else repeats, a denoiser names itself
Computed = tuple["Tensor", "list[Tensor | None]"]  # loss [] and the gradients of the trained tensors, fp32
Recorder = Callable[[Callable[[], Computed]], tuple[Callable[[], object], Computed]]  # (what starts it again, where its results are)


class Run(Protocol):
    """What steps are recorded of, as `loop.Training` holds it."""

    spec: RunSpec
    family: ModuleType
    parts: Parts
    precision: str
    optimizer: Any
    accelerator: Any


@dataclass(frozen=True)
class Step:
    """A recorded micro-batch: the tensors that it reads, what starts it, and where its results are."""

    inputs: "list[Tensor]"
    start: Callable[[], object]
    loss: "Tensor"
    gradients: "list[Tensor | None]"
    places: tuple[int, ...]  # where the weights were that it reads and trains


class Steps:
    """Gradients of micro-batches by recorded steps. Thousands of small kernels take a processor longer to launch than a GPU to compute.

    Methods that can (`in_half`) are computed in the base's own half precision throughout: the trained tensors stay fp32, and are
    read through copies, so that no kernel is spent on casts. Others are computed under autocast, as without recording.
    """

    def __init__(self, run: Run, recorder: Recorder | None = None, compiled: bool = False) -> None:
        import torch

        self._run, self._record, self._compiled = run, recorder or self._cuda, compiled
        self._params = [p for group in run.optimizer.param_groups for p in group["params"]]
        self._denoiser = run.parts.modules[run.family.card.denoiser]
        in_half = run.precision == "bf16" and several.in_half(run.spec.methods)
        self._low = [torch.empty_like(p, dtype=run.parts.dtype) for p in self._params] if in_half else []
        self._known: dict[Any, Step] = {}
        self._pool: Any = None
        self._lent = False  # the trained tensors' gradients are a recorded step's own places
        self.trouble = ""  # why steps are not recorded, from when that is known

    def forget(self) -> None:
        """Give back the memory of all that is recorded; it is recorded anew when needed."""
        self._known, self._pool = {}, None

    def backward(self, batch: Batch, global_size: int, weight: float) -> "Tensor | None":
        """Add a micro-batch's gradients to those of the trained tensors, and return its loss []; None where it cannot be recorded."""
        if self.trouble or not (batch.conds or not self._run.family.card.text):
            return None
        key, places = self._key(batch, global_size, weight), self._places()
        step = self._known.get(key)
        if step is not None and step.places != places:
            self.forget()
            step = None
        if step is None:
            if len(self._known) >= MAX_SHAPES:
                return None
            step = self._new(batch, global_size, weight, places)
            if step is None:
                return None
            self._known[key] = step
        if self._lent:
            self._take_back()
        for ours, given in zip(step.inputs, _tensors(batch), strict=True):
            ours.copy_(given)
        step.start()
        self._add(step.gradients)
        return step.loss.clone()

    def _key(self, batch: Batch, global_size: int, weight: float) -> Any:
        shapes = tuple((tuple(t.shape), t.dtype) for t in _tensors(batch))
        return shapes, batch.weight is None, global_size, weight

    def _places(self) -> tuple[int, ...]:
        return (next(self._denoiser.parameters()).data_ptr(), *(p.data_ptr() for p in self._params))

    def _new(self, batch: Batch, global_size: int, weight: float, places: tuple[int, ...]) -> Step | None:
        """A micro-batch of this shape recorded; None, and the reason in `trouble`, where that fails."""
        device = self._run.parts.device
        own = _on(batch, device)
        given = [p.grad for p in self._params]
        try:
            with compiled_blocks(self._denoiser) if self._compiled else nullcontext():
                start, (loss, gradients) = self._record(lambda: self._compute(own, global_size, weight))
        except Exception as error:  # what a model does on the way may be such that it cannot be recorded, in many ways
            self.forget()
            self.trouble = one_line(error)[:200]
            return None
        finally:
            for p, gradient in zip(self._params, given, strict=True):
                p.grad = gradient
        return Step(_tensors(own), start, loss, gradients, places)

    def _compute(self, batch: Batch, global_size: int, weight: float) -> Computed:
        """Loss and gradients of a micro-batch whose tensors are on the device; the trained tensors' own gradients are left empty."""
        import torch

        run = self._run
        for p in self._params:
            p.grad = None
        with self._halved(), nullcontext() if self._low else run.accelerator.autocast():
            loss = weight * batch_loss(run.family, run.parts, batch, run.spec.train.min_snr_gamma, global_size)
            loss.backward()
            found = [p.grad for p in self._params]
            for p in self._params:
                p.grad = None
        if self._low:
            pairs = [(torch.empty_like(g, dtype=torch.float32), g) for g in found if g is not None]
            torch._foreach_copy_([whole for whole, _ in pairs], [half for _, half in pairs])
            wholes = iter(whole for whole, _ in pairs)
            found = [None if g is None else next(wholes) for g in found]
        return loss.detach(), found

    @contextmanager
    def _halved(self) -> Iterator[None]:
        """Within: the trained tensors are their copies in half precision, made now."""
        import torch

        if not self._low:
            yield
            return
        whole = [p.data for p in self._params]
        torch._foreach_copy_(self._low, whole)
        for p, low in zip(self._params, self._low, strict=True):
            p.data = low
        try:
            yield
        finally:
            for p, data in zip(self._params, whole, strict=True):
                p.data = data

    def _add(self, gradients: "list[Tensor | None]") -> None:
        """Give the trained tensors these gradients beside those they have: lent as they are where there are none yet."""
        import torch

        pairs = [(p, g) for p, g in zip(self._params, gradients, strict=True) if g is not None]
        self._lent = all(p.grad is None for p, _ in pairs)
        for p, gradient in pairs:
            if p.grad is None:
                p.grad = gradient if self._lent else torch.zeros_like(p)
        if not self._lent:
            torch._foreach_add_([p.grad for p, _ in pairs], [g for _, g in pairs])

    def _take_back(self) -> None:
        """Leave the trained tensors copies of gradients whose places the next start overwrites."""
        for p in self._params:
            p.grad = None if p.grad is None else p.grad.clone()
        self._lent = False

    def _cuda(self, compute: Callable[[], Computed]) -> tuple[Callable[[], object], Computed]:
        """Record on the GPU; all shapes share one pool of memory, since no two of them run at once."""
        import torch

        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                compute()
        torch.cuda.current_stream().wait_stream(stream)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            computed = compute()
        return graph.replay, computed


def _tensors(batch: Batch) -> "list[Tensor]":
    """All tensors of a batch, in one order."""
    told = [c[name] for c in batch.conds for name in sorted(c)]
    return [batch.z, batch.eps, batch.u, batch.geometry, *([] if batch.weight is None else [batch.weight]), *told]


def _on(batch: Batch, device: Any) -> Batch:
    """A copy of a batch on a device."""
    conds = [{name: value.to(device, copy=True) for name, value in c.items()} for c in batch.conds]
    weight = None if batch.weight is None else batch.weight.to(device, copy=True)
    moved = {name: getattr(batch, name).to(device, copy=True) for name in ("z", "eps", "u", "geometry")}
    return replace(batch, conds=conds, weight=weight, **moved)


@contextmanager
def compiled_blocks(denoiser: Any) -> Iterator[None]:
    """Within: the blocks that a denoiser repeats are compiled (regional compilation); scores and previews see them as they were."""
    import torch
    from torch import nn

    names = CONVOLUTION_BLOCKS | frozenset(getattr(denoiser, "_repeated_blocks", None) or ())
    blocks = [m for m in denoiser.modules() if type(m).__name__ in names]
    for module in denoiser.modules():
        if type(module) is nn.Conv2d and not module.weight.requires_grad:
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    before = torch._dynamo.config.recompile_limit
    torch._dynamo.config.recompile_limit = MAX_VARIANTS
    for block in blocks:
        block.compile(dynamic=False)
    try:
        yield
    finally:
        torch._dynamo.config.recompile_limit = before
        for block in blocks:
            block._compiled_call_impl = None
