"""The verdict on an adapter: is it nearer to the domain, does it copy, is it as varied as the pictures, does it follow their captions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from studio.evaluate.domain import follows_captions, gap, variety
from studio.evaluate.memorisation import Copying

STATES = ("unknown", "good", "doubt", "bad")  # the worst stands for all
MAX_P = 0.05
VARIED, COLLAPSED = 0.7, 0.4  # shares of the variety of real pictures: from where on it is as varied, and below which it has collapsed
STRAYS = 2.5  # from where on it does not draw the domain alone
FOLLOWS = 0.55  # of 1; 0.5 = chance


@dataclass(frozen=True)
class Finding:
    """One thing that was judged: its state (one of STATES), what it comes to in a word or a number, a sentence, and a shorter one."""

    key: str
    title: str
    state: str
    value: str
    text: str
    brief: str = ""


@dataclass(frozen=True)
class Seen:
    """Tower features of what was drawn from the same noise, [N, D], and of real pictures."""

    base: np.ndarray
    adapted: np.ndarray
    alike: np.ndarray  # [N, D], the trained picture whose caption each was drawn with
    trained: np.ndarray  # [M, D]
    unseen: np.ndarray  # [K, D]


def findings(seen: Seen, copying: Copying, captions: Sequence[str], trained_captions: Sequence[str]) -> list[Finding]:
    """Everything that is judged, in the order in which it matters."""
    return [_nearer(seen), _copies(copying), _varied(seen), _follows(seen, captions, trained_captions)]


def headline(found: list[Finding]) -> tuple[str, str]:
    """(the worst state of what can be told, a sentence): what is bad or in doubt; else how much nearer it is, and that it does not copy."""
    known = [each for each in found if each.state != "unknown"]
    if not known:
        return "unknown", found[0].text
    worst = max(known, key=lambda each: STATES.index(each.state))
    said = [each.brief or each.text for each in known if each.key in ("domain", "copies")] if worst.state == "good" else []
    return worst.state, " ".join(said or [worst.text])


def _nearer(seen: Seen) -> Finding:
    title, found = "Nearer to your domain", gap(seen.base, seen.adapted, seen.unseen)
    if found is None:
        return Finding("domain", title, "unknown", "", f"Not told: {len(seen.unseen)} unseen pictures are too few to compare with.")
    percent, told = round(100 * found.closed), f"(p = {found.p:.2g}, {len(seen.unseen)} unseen pictures)"
    if found.p < MAX_P and percent > 0:
        closed = f"Closed {percent} % of the gap to your domain"
        return Finding("domain", title, "good", f"{percent} %", f"{closed} {told}.", f"{closed}.")
    if percent < 0 and found.p > 1 - MAX_P:
        return Finding(
            "domain", title, "bad", f"{percent} %", f"Further from your domain than its base {told}: choose an earlier snapshot."
        )
    return Finding("domain", title, "doubt", f"{percent} %", f"No nearer to your domain than its base {told}: train for more steps.")


def _copies(copying: Copying) -> Finding:
    state = {"none": "good", "signs": "doubt", "copies": "bad"}.get(copying.level, "unknown")
    value = "" if state == "unknown" else f"{len(copying.suspects)} of {copying.num_drawn}"
    brief = f"No sign of copying in {copying.num_drawn} pictures." if state == "good" else ""
    return Finding("copies", "Copies of trained pictures", state, value, copying.text, brief)


def _varied(seen: Seen) -> Finding:
    title, share = "Variety", variety(seen.adapted, seen.alike)
    if share is None:
        return Finding("variety", title, "unknown", "", "Not told: your pictures hardly differ from each other.")
    percent = round(100 * share)
    if share > STRAYS:
        text = f"What it draws is {share:.0f} times as varied as your pictures: it has not learned what they have in common."
        return Finding("variety", title, "doubt", f"{percent} %", f"{text} Train for more steps.")
    state = "good" if share >= VARIED else "doubt" if share >= COLLAPSED else "bad"
    advice = {"good": ".", "doubt": ": compare an earlier snapshot.", "bad": ", they are nearly one picture: choose an earlier snapshot."}[
        state
    ]
    return Finding("variety", title, state, f"{percent} %", f"What it draws has {percent} % of the variety of your pictures{advice}")


def _follows(seen: Seen, captions: Sequence[str], trained_captions: Sequence[str]) -> Finding:
    title, share = "Captions followed", follows_captions(seen.adapted, captions, seen.trained, trained_captions)
    if share is None:
        return Finding("captions", title, "unknown", "", "Not told: the captions are all alike.")
    percent = round(100 * share)
    text = f"Nearer to a picture of its own caption than to others in {percent} % (50 % = chance)"
    if share >= FOLLOWS:
        return Finding("captions", title, "good", f"{percent} %", f"{text}.")
    return Finding("captions", title, "unknown", f"{percent} %", f"{text}: the image tower does not see what your captions tell apart.")
