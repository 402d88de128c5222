"""A run's events and its end in words, for the command line and for the screens."""

from typing import Any

HOLDING = {
    "queued": "waiting its turn behind {behind}",
    "parked": "holding between two steps while pictures are drawn",
    "unparked": "going on with training",
}


def number(value: float | None) -> str:
    """A loss as shown; None is one that was not finite."""
    return "no number" if value is None else f"{value:.4f}"


def describe(event: dict[str, Any]) -> str:
    """An event in words; empty for those that need none."""
    kind = event["kind"]
    if kind in HOLDING:
        return HOLDING[kind].format(**event)
    if kind == "loaded":
        return f"base {event['base']} ({event['family']}) on {event['device']}, {event['precision']}"
    if kind == "class_pictures" and event["done"] == event["total"]:
        return f"class pictures drawn: {event['total']}"
    if kind == "planned":
        return f"memory: about {event['peak_gib']:.1f} GiB ({event['details']}); {event['text']}"
    if kind == "imported":
        return f"continues from the adapter file: {event['layers']}"
    if kind == "cached":
        return f"cached: {event['made']} new, {event['reused']} reused, {event['seconds']} s"
    if kind == "score" and event.get("held_out"):
        score = event["held_out"]
        losses = f"held-out loss {number(score['loss'])}, base {number(score['base'])}"
        return f"step {event['step']}: {losses}, better on {score['num_better']} of {score['num_images']} unseen pictures{_masked(score)}"
    if kind in {"warning", "early_stop"}:
        return f"{kind.replace('_', ' ')}: {event['message']}"
    if kind in {"finished", "stopped"} and event.get("chosen"):
        chosen = event["chosen"]
        kept = f"kept step {chosen['step']} ({chosen['average']}), {event['reason']}"
        return f"{kind} at step {event['step']}: {kept}; peak memory {event['peak_memory_gib']} GiB"
    return ""


def tell(event: dict[str, Any]) -> str:
    """An event in words for a list of all that happened; empty for steps and for progress that is shown otherwise."""
    kind, step = event["kind"], event.get("step")
    plain = {
        "started": f"training starts: {event.get('steps')} steps, {event.get('layers')} layers adapted",
        "resumed": f"training goes on from step {step}",
        "preview": "pictures of the base drawn" if event.get("base") else f"step {step}: previews drawn",
        "stopped": f"stopped at step {step}",
        "finished": f"finished at step {step}",
        "error": f"failed: {event.get('message')}",
    }
    return describe(event) or plain.get(kind, "")


def tone(event: dict[str, Any]) -> str:
    """How an event is coloured: "good", "warning", "problem" or nothing."""
    return {"finished": "good", "warning": "warning", "early_stop": "warning", "error": "problem"}.get(event["kind"], "")


def verdict(state: str, facts: dict[str, Any]) -> str:
    """One honest sentence about a run that has ended; empty while it goes on. `facts`: step, steps, score, error, has_adapter, damaged."""
    if state == "finished":
        return f"Adapter ready. {_judge(facts['score'])}"
    if state == "stopped":
        kept = " What it has learned so far is kept as an adapter." if facts["has_adapter"] else ""
        return f"Stopped at step {facts['step']} of {facts['steps']}.{kept} Resume continues from there."
    if state == "failed":
        reason = facts["error"] or "the reason was not written down, look into its log.txt"
        return f"Failed at {reason}" if reason.startswith("step ") else f"Failed at step {facts['step']}: {reason}"
    if state == "interrupted" and not facts["step"]:
        return "The process of this run is gone, before its first step. Resume starts it again."
    if state == "interrupted":
        return (
            f"The process of this run is gone, as after a power cut or when memory runs out. It had reached step {facts['step']}. "
            f"Resume continues from step {facts['resume_step']}."
        )
    return ""


def _judge(score: dict[str, Any] | None) -> str:
    if not score:
        return "Nothing was held out, so that nobody knows how it does on unseen pictures: look at its previews."
    better = f"better on {score['num_better']} of {score['num_images']} unseen pictures{_masked(score)}"
    if score["change_percent"] is None:
        return "Its held-out loss is no number: look at its previews before you use it."
    change = round(abs(score["change_percent"]))
    if not change:
        return f"Held-out loss as the base's, {better}: it has hardly changed anything."
    if score["change_percent"] > 0:
        return f"But its held-out loss is {change} % above the base ({better}): train longer, lower the learning rate, or add pictures."
    on = f"on {score['num_better']} of {score['num_images']} unseen pictures{_masked(score)}"
    return f"Held-out loss {change} % below the base{', better' if score['num_better'] < score['num_images'] else ''} {on}."


def _masked(score: dict[str, Any]) -> str:
    """Whether masks weighted what was measured."""
    return f" ({score['num_masked']} of them masked)" if score.get("num_masked") else ""
