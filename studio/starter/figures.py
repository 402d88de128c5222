"""The figures of the embedded model as lines: what was measured, the value, and which command measured it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from studio.store import read_json

# figures.json of the build; what is not named here is not shown
BUILD = {
    "unet.samples": "UNet training samples of this build",
    "unet.v_mse": "v-MSE",
    "judge.noto_top1": "Judge on real icons in noto (a style that it never saw), top-1",
    "judge.noto_top5": "Judge on real icons in noto (a style that it never saw), top-5",
    "judge.twemoji_top5": "Judge on real icons in twemoji (a style that it never saw), top-5",
    "judge.cartoon_top5": "Judge on real icons in cartoon (a style that it never saw), top-5",
    "judge.openmoji_top1": "Judge on real icons in openmoji (a style that nothing here learned from), top-1",
    "judge.openmoji_top5": "Judge on real icons in openmoji (a style that nothing here learned from), top-5",
    "vision.noto_of_all_top5": "Vision tower on real icons in noto (seen), top-5 of all names",
    "vision.flat_of_all_top1": "Vision tower on real icons in flat (never seen), top-1 of all names",
    "vision.flat_of_all_top5": "Vision tower on real icons in flat (never seen), top-5 of all names",
    "vision.openmoji_of_all_top5": "Vision tower on real icons in openmoji (never seen), top-5 of all names",
    "vocabulary.openmoji_top1": "Captioner on openmoji (never seen), all names, its own head start: top-1",
    "vocabulary.openmoji_top5": "Captioner on openmoji (never seen), all names, its own head start: top-5",
    "vocabulary.openmoji_calibration_error": "Captioner on openmoji: calibration error (ECE)",
    "vocabulary.brain-mri_unknown": "Captioner on brain MRI: share of pictures told as unknown",
    "vocabulary.satellite_unknown": "Captioner on satellite pictures: share of pictures told as unknown",
    "vae.psnr_seen_styles_db": "Autoencoder PSNR, icons of the training styles",
    "vae.psnr_unseen_styles_db": "Autoencoder PSNR, icons of unseen styles",
    "vae.psnr_brain-mri_db": "Autoencoder PSNR, brain MRI (never seen)",
    "vae.psnr_satellite_db": "Autoencoder PSNR, Blue Marble (never seen)",
    "pixel.samples": "Pixel base: training samples",
    "pixel.v_mse": "Pixel base: v-MSE",
}


class Figure(NamedTuple):
    """One line of the table; `by` is the command, "build" or "report"."""

    what: str
    value: str
    by: str


def read_figures(model: Path) -> dict[str, Any]:
    """The build's figures.json of a model folder; empty where there is none."""
    file = model / "figures.json"
    return read_json(file) if file.exists() else {}


def figures_of(built: dict[str, Any], report: dict[str, Any] | None) -> list[Figure]:
    """Every figure that was measured; what was not is not among them."""
    lines = []
    for key, what in BUILD.items():
        section, _, name = key.partition(".")
        if (value := built.get(section, {}).get(name)) is not None:
            lines.append(Figure(what, shown(name, value), "build"))
    for part in (_drawing, _negative, _adaptation):
        lines += [Figure(what, value, "report") for what, value in part(report or {})]
    return lines


def shown(name: str, value: float) -> str:
    """A figure of the build as text; its name tells decibels and shares from counts."""
    if name.endswith("_db"):
        return f"{value:.1f} dB"
    if name.endswith(("top1", "top5", "_share", "_unknown", "_error")):
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _drawing(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "concepts" in report:
        count = report["concepts"]
        yield "Drawn concepts that the judge names first", f"{report['num_top1']} of {count} ({report['top1']:.1%})"
        yield "Drawn concepts among the judge's first five", f"{report['num_top5']} of {count} ({report['top5']:.1%})"
    if styles := report.get("styles"):
        what = f"Style told from the picture, {styles['concepts']} concepts in {len(styles['styles'])} styles"
        yield what, f"{styles['told']:.1%} (chance {styles['chance']:.1%})"
    if guidance := report.get("guidance"):
        what = f"Among the judge's first five at guidance {' / '.join(guidance)}"
        yield what, " / ".join(f"{shares['top5']:.1%}" for shares in guidance.values())


def _negative(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if negative := report.get("negative"):
        word, control, left, less = negative["word"], negative["control"], negative["redness"], negative["less_red"]
        count = negative["pictures"]
        what = f'Redness of {count} red things: no negative prompt / "{word}" / "{control}"'
        yield what, f"{left['none']:.3f} / {left[word]:.3f} / {left[control]:.3f}"
        yield f'Less red with the negative prompt "{word}" / "{control}"', f"{less[word]} of {count} / {less[control]} of {count}"


def _adaptation(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    adaptation = report.get("adaptation", {"demos": {}})
    for demo, run in adaptation["demos"].items():
        better, count = run["improved"]
        loss = f"{run['held_out_base']:.3f} → {run['held_out_adapted']:.3f} ({run['held_out_change']:+.1%})"
        yield f"{demo}: held-out loss, base → adapted", f"{loss}, better on {better} of {count}"
        yield f"{demo}: minutes of training", f"{run['minutes']:g}"
        told = run["in_domain"][adaptation["features"]]
        yield f"{demo}: samples in the domain, base → adapted", f"{told['base']:.0%} → {told['adapted']:.0%} of {run['pairs']}"
        yield f"{demo}: real held-out pictures / the base's own drawings in the domain", f"{told['real']:.0%} / {told['own']:.0%}"


def table(model: Path, report: dict[str, Any]) -> str:
    """All figures of a model and its report as lines for a terminal."""
    lines = figures_of(read_figures(Path(model)), report)
    width = max(len(line.what) for line in lines)
    return "\n".join(f"{line.what:{width}}  {line.value}" for line in lines)
