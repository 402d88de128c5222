"""What happens at which step: batches, learning rate and averaging, as functions of the step alone."""

from collections.abc import Hashable, Sequence
from functools import lru_cache

from studio.train.randomness import generator


class BatchPlan:
    """Which pictures make up the global batch of a step: one bucket per step, every picture as often as its `repeats`, else equally."""

    def __init__(self, buckets: Sequence[Hashable], batch_size: int, seed: int, repeats: Sequence[int] = ()) -> None:
        often = list(repeats) or [1] * len(buckets)
        self._members = {b: [i for i, x in enumerate(buckets) if x == b for _ in range(often[i])] for b in dict.fromkeys(buckets)}
        self._batch_size, self._seed, self._total = batch_size, seed, sum(often)
        self._picks = dict.fromkeys(self._members, 0)
        self._history: list[tuple[Hashable, int]] = []
        self._permutation = lru_cache(64)(self._permute)

    def batch(self, step: int) -> list[int]:
        """Indices of the pictures of step `step` (from 0), in order of their position."""
        while len(self._history) <= step:
            self._pick_bucket()
        bucket, turn = self._history[step]
        members = self._members[bucket]
        places = range(turn * self._batch_size, (turn + 1) * self._batch_size)
        return [members[self._permutation(bucket, p // len(members))[p % len(members)]] for p in places]

    def _pick_bucket(self) -> None:
        """The bucket that lags most behind its share is next."""
        step = len(self._history) + 1
        bucket = max(self._members, key=lambda b: len(self._members[b]) / self._total * step - self._picks[b])
        self._history.append((bucket, self._picks[bucket]))
        self._picks[bucket] += 1

    def _permute(self, bucket: Hashable, epoch: int) -> list[int]:
        import torch

        return torch.randperm(len(self._members[bucket]), generator=generator(self._seed, "order", repr(bucket), epoch)).tolist()


def lr_factor(step: int, steps: int, warmup_share: float) -> float:
    """The share of the learning rate that step `step` (from 0) uses: linear warm-up, then constant."""
    warmup = round(steps * warmup_share)
    return min(1.0, (step + 1) / (warmup + 1))


def ema_decay(step: int, decay: float) -> float:
    """The decay of the average after step `step` (from 0): it forgets its start quickly, then settles at `decay`."""
    return min(decay, (1 + step) / (10 + step))
