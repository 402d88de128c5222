"""Which snapshot, raw or averaged, becomes the run's adapter."""

from typing import Any


def choose(candidates: list[dict[str, Any]]) -> tuple[dict[str, Any], str]:
    """(candidate, reason): the lowest held-out loss; the last average where nothing was held out. Ties go to the earlier."""
    measured = [c for c in candidates if c["held_out"]]
    if not measured:
        last = max(candidates, key=lambda c: (c["average"] == "ema", c["step"]))
        return last, "nothing was held out to compare with, so the last average was taken"
    best = min(measured, key=lambda c: c["held_out"]["log_ratio"])
    better, total = best["held_out"]["num_better"], best["held_out"]["num_images"]
    return best, f"lowest held-out loss of {len(measured)} candidates; better than the base on {better} of {total} unseen pictures"
