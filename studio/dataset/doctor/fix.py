"""Carrying out mends: one that was chosen, or all that hardly anyone would decide otherwise."""

from collections.abc import Sequence
from typing import Any

from studio.dataset.doctor.chart import read_chart
from studio.dataset.doctor.diagnosis import diagnose
from studio.dataset.doctor.mends import MENDS
from studio.dataset.doctor.table import CHECKS
from studio.dataset.rows import open_dataset
from studio.errors import StudioError, printable
from studio.store import Workspace


def examined(workspace: Workspace, name: str, **options: Any) -> dict[str, Any]:
    """The diagnosis of the dataset `name` as its files are now."""
    dataset = open_dataset(workspace, name)
    return diagnose(dataset, [dataset.caption(row) for row in dataset.rows], read_chart(dataset.root), **options)


def fix(workspace: Workspace, name: str, check: str, mend: str, files: Sequence[str] | None = None) -> dict[str, Any]:
    """Mend what `check` found, in all pictures concerned or in `files` of them: {"undo", "text"}.

    StudioError where there is nothing (any more) to mend, or the mend does not suit the check.
    """
    if check not in CHECKS:
        raise StudioError(f"{printable(check)[:40]!r} is no check: there are {', '.join(CHECKS)}")
    is_chosen = mend == "exclude" and files is not None  # as in a review: pictures of a group, one by one
    if (mend not in CHECKS[check].mends and not is_chosen) or mend == "review":
        offered = ", ".join(each for each in CHECKS[check].mends if each != "review") or "nothing"
        raise StudioError(f"{printable(mend)[:40]!r} does not mend {check}: it offers {offered}")
    finding = next((each for each in examined(workspace, name)["findings"] if each["key"] == check), None)
    chosen = [file for file in (finding or {"files": []})["files"] if files is None or file in set(files)]
    if finding is None or (not chosen and (files is not None or finding["files"])):
        raise StudioError(f"{CHECKS[check].title.lower()}: there is nothing left to mend")
    if finding["groups"]:
        groups = [{**group, "files": [file for file in group["files"] if file in set(chosen)]} for group in finding["groups"]]
        finding = {**finding, "groups": [group for group in groups if group["files"]]}
    return MENDS[mend].carry_out(workspace, name, finding, chosen)


def fix_all(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    """Carry out every automatic mend, one after the other: [{"check", "undo", "text"}]; each can be undone by itself."""
    done = []
    for check in CHECKS.values():
        mend = next((key for key in check.mends if MENDS[key].is_automatic), None)
        here = mend and any(
            each["key"] == check.key and any(offered["mend"] == mend for offered in each["mends"])
            for each in examined(workspace, name)["findings"]
        )
        if here and (told := fix(workspace, name, check.key, mend)).get("undo"):
            done.append({"check": check.key, "undo": told["undo"], "text": told["text"]})
    return done
