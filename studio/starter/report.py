"""Grade the embedded model: concepts, style words, guidance, negative prompts, adaptation; one table, sheets of pictures, report.json.

python -m studio.starter.report --model assets/starter --out WORK/report [--without-adaptation]
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.starter import grids, measures
from studio.starter.adaptation import DEMOS, PRESET, RECIPE, Plan, World, choose_features, grade_demo
from studio.starter.captions import BACKGROUNDS, PLAIN, STYLE_SUFFIX, article, captions
from studio.starter.packages import TRAIN_STYLES

if TYPE_CHECKING:
    import torch

    from studio.starter.judge import Judge

STYLE = "noto"
GUIDANCE, OTHER_GUIDANCE = 3.0, (1.0, 6.0)
SEED, STYLE_SEED = 7, 107
BATCH = 16
NUM_SHOWN = 8
NEGATIVE, CONTROL = "red", "blue"
RED_THINGS = (
    "red apple", "red heart", "strawberry", "tomato", "mushroom", "tulip", "octopus", "automobile",
    "cherries", "maple leaf", "fire", "rose", "watermelon", "pizza", "pig face", "fox",
)  # fmt: skip
SHEETS = ("concepts", "styles", "guidance", "negative", *DEMOS)
SHEET_FILES = {name: "report.png" if name == "concepts" else f"report-{name}.png" for name in SHEETS}
REPORT_FILES = ("report.json", *SHEET_FILES.values())  # what a rebuilt model folder keeps


@dataclass(frozen=True)
class Scope:
    """How much is drawn; tests take less of it. Without an adaptation plan, no adapter is trained."""

    num_steps: int = 25
    max_concepts: int | None = None
    style_concepts: int = 20
    adaptation: Plan | None = Plan()


@dataclass
class Studio:
    """The model being graded, who judges it, where the sheets go and who is told."""

    model: Path
    out: Path
    scope: Scope
    judge: "Judge"
    concepts: list[str]  # in the order of the judge's answers
    pipeline: Any
    tell: Callable[[str], None]
    sheets: dict[str, str] = field(default_factory=dict)

    @property
    def shown(self) -> list[str]:
        """The concepts that are drawn: all, or the first few."""
        return self.concepts[: self.scope.max_concepts]

    def sheet(self, name: str) -> Path:
        """Where the sheet of this name goes; from now on the report has it."""
        self.sheets[name] = SHEET_FILES[name]
        return self.out / self.sheets[name]


def report(model: Path, out: Path, progress: Callable[[str], None] | None = None, scope: Scope | None = None) -> dict[str, Any]:
    """Grade the pipeline in `model` with the judge beside it; write report.json and the sheets into `out`, and the card if it is a model's.

    Returns what report.json holds: shares in [0, 1], places from 1 (best). Nothing is downloaded. StudioError where
    `model` is not what `starter build` made, or an adapter cannot be trained.
    """
    from studio.starter.card import refresh_card, weights_hash
    from studio.store import write_json

    model, out, scope = Path(model).expanduser().resolve(), Path(out).expanduser(), scope or Scope()
    studio = _open(model, out, scope, progress or (lambda line: None))
    (out / "report.json").unlink(missing_ok=True)  # from here on the sheets are not those of an older report
    drawn = draw_concepts(studio)
    result = grade_concepts(studio, drawn)
    result |= {"styles": grade_styles(studio), "guidance": grade_guidance(studio, drawn), "negative": grade_negative(studio)}
    if scope.adaptation:
        result["adaptation"] = grade_adaptation(studio, drawn, scope.adaptation)
    settings = {"style": STYLE, "guidance": GUIDANCE, "steps": scope.num_steps, "seed": SEED, "scheduler": "DDIM"}
    result |= {"sheets": studio.sheets, "weights_sha256": weights_hash(model), "settings": settings}
    for name in set(SHEET_FILES.values()) - set(studio.sheets.values()):
        (out / name).unlink(missing_ok=True)
    write_json(out / "report.json", result)
    if (out / "figures.json").exists():
        refresh_card(out)
    return result


def _open(model: Path, out: Path, scope: Scope, tell: Callable[[str], None]) -> Studio:
    """Load the model with the product's own loader and the judge; StudioError where either is missing."""
    import torch

    from studio import registry
    from studio.models.bases import find_base
    from studio.starter.judge import load_judge

    if not (model / "judge" / "judge.safetensors").exists():
        raise StudioError(f"{model} has no judge/judge.safetensors. Give the folder that `starter build` made.")
    family = registry.family(find_base(str(model)).family)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pipeline = family.pipeline(family.load(model, torch.float32, device))
    pipeline.set_progress_bar_config(disable=True)
    judge, concepts = load_judge(model / "judge")
    out.mkdir(parents=True, exist_ok=True)
    return Studio(model, out, scope, judge, concepts, pipeline, tell)


def draw(studio: Studio, what: str, prompts: list[str], seeds: list[int], **options: Any) -> "torch.Tensor":
    """Draw one picture per prompt and seed: float [N, 3, S, S] in [0, 1]; `options` are the pipeline's (guidance, negative prompt)."""
    import torch

    pictures, look = [], {"guidance_scale": GUIDANCE, "num_inference_steps": studio.scope.num_steps, "output_type": "pt"} | options
    negative = look.pop("negative_prompt", "")
    for first in range(0, len(prompts), BATCH):
        part = prompts[first : first + BATCH]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds[first : first + BATCH]]
        pictures.append(studio.pipeline(part, negative_prompt=[negative] * len(part), generator=generators, **look).images.float().cpu())
        studio.tell(f"{what}: {first + len(part)} of {len(prompts)} drawn")
    return torch.cat(pictures)


def draw_concepts(studio: Studio, guidance: float = GUIDANCE) -> "torch.Tensor":
    """Return one picture per concept [N, 3, S, S] in [0, 1], each from a seed of its own, the same at every guidance."""
    prompts = [STYLE_SUFFIX.format(name=name, style=STYLE) for name in studio.shown]
    return draw(studio, f"concepts at guidance {guidance:g}", prompts, [SEED + n for n in range(len(prompts))], guidance_scale=guidance)


def judged(studio: Studio, pixels: "torch.Tensor") -> tuple[list[int], dict[str, Any]]:
    """The judge's place (0 = best) of every drawn concept, and how many come first and among the first five."""
    import torch

    from studio.starter.judge import rank

    places = rank(studio.judge, pixels * 2 - 1, torch.arange(len(pixels))).tolist()
    first, five = (sum(p < limit for p in places) for limit in (1, 5))
    shares = {"top1": round(first / len(places), 3), "top5": round(five / len(places), 3)}
    return places, shares | {"num_top1": first, "num_top5": five}


def grade_concepts(studio: Studio, pixels: "torch.Tensor") -> dict[str, Any]:
    """Places of the drawn concepts, and their sheet."""
    places, counts = judged(studio, pixels)
    grids.save_concepts(pixels, studio.shown, places, studio.sheet("concepts"))
    named = {name: place + 1 for name, place in zip(studio.shown, places, strict=True)}
    return {"concepts": len(places), "chance_top1": round(1 / len(studio.concepts), 3), **counts, "places": named}


def grade_styles(studio: Studio) -> dict[str, Any]:
    """Draw some concepts in every style from the same noise; how often a picture's style is told from the others' pictures."""
    count = min(studio.scope.style_concepts, len(studio.shown))
    names, styles = [studio.shown[n * len(studio.shown) // count] for n in range(count)], [s.word for s in TRAIN_STYLES]
    prompts = [STYLE_SUFFIX.format(name=name, style=style) for name in names for style in styles]
    pixels = draw(studio, "styles", prompts, [STYLE_SEED + n // len(styles) for n in range(len(prompts))])
    by_style = pixels.view(count, len(styles), *pixels.shape[1:])
    rows = [(f"{style} style", by_style[:NUM_SHOWN, n]) for n, style in enumerate(styles)]
    grids.save_rows(rows, names[:NUM_SHOWN], studio.sheet("styles"))
    kinds = {"statistics": measures.statistics, "judge": measures.judge_features(studio.judge)}
    told = {name: measures.share_of_styles_told(describe(pixels).view(count, len(styles), -1)) for name, describe in kinds.items()}
    told = {name: round(share, 3) for name, share in told.items()}
    return {"concepts": count, "styles": styles, "told": told["statistics"], "chance": round(1 / len(styles), 3), "by_features": told}


def grade_guidance(studio: Studio, drawn: "torch.Tensor") -> dict[str, dict[str, Any]]:
    """The judge's shares at weaker and stronger guidance, and a sheet of the first concepts."""
    at = {GUIDANCE: drawn} | {guidance: draw_concepts(studio, guidance) for guidance in OTHER_GUIDANCE}
    rows = [(f"guidance {guidance:g}", at[guidance][:NUM_SHOWN]) for guidance in sorted(at)]
    grids.save_rows(rows, studio.shown[:NUM_SHOWN], studio.sheet("guidance"))
    return {f"{guidance:g}": judged(studio, at[guidance])[1] for guidance in sorted(at)}


def grade_negative(studio: Studio) -> dict[str, Any]:
    """Draw red things with the negative prompt "red", without it, and with another colour's word; how much red is left."""
    names = [name for name in RED_THINGS if name in studio.shown] or studio.shown[:2]
    prompts, seeds = [PLAIN.format(article=article(name), name=name) for name in names], [SEED + n for n in range(len(names))]
    rows = []
    for word in ("", NEGATIVE, CONTROL):
        rows.append((word, draw(studio, f"negative prompt {word!r}", prompts, seeds, negative_prompt=word)))
    labels = [(f"not: {word}" if word else "no negative", pixels[:NUM_SHOWN]) for word, pixels in rows]
    grids.save_rows(labels, names[:NUM_SHOWN], studio.sheet("negative"))
    without, *others = (measures.redness(pixels) for _, pixels in rows)
    less = {word: int((red < without).sum()) for word, red in zip((NEGATIVE, CONTROL), others, strict=True)}
    means = {word or "none": round(float(measures.redness(pixels).mean()), 3) for word, pixels in rows}
    return {"pictures": len(names), "word": NEGATIVE, "control": CONTROL, "redness": means, "less_red": less}


def draw_on_grounds(studio: Studio) -> "torch.Tensor":
    """Draw every concept once more, in the styles, wordings and coloured backgrounds of the training in turn: [N, 3, S, S] in [0, 1]."""
    grounds = [word for word in BACKGROUNDS if word != "white"]
    prompts = []
    for n, name in enumerate(studio.shown):
        wordings = captions(name, TRAIN_STYLES[n % len(TRAIN_STYLES)].word, grounds[n % len(grounds)])
        prompts.append(wordings[n % len(wordings)])
    return draw(studio, "concepts on coloured backgrounds", prompts, [SEED + n for n in range(len(prompts))])


def grade_adaptation(studio: Studio, drawn: "torch.Tensor", plan: Plan) -> dict[str, Any]:
    """Adapt to each demo; what the runs learned, and how much of what they draw is in the domain."""
    import torch

    grounds, judge = draw_on_grounds(studio), measures.judge_features(studio.judge)
    halves = [torch.cat([drawn[n::2], grounds[n::2]]) for n in (0, 1)]
    kinds = {"statistics": (measures.statistics,), "statistics and judge": (measures.statistics, judge), "judge": (judge,)}
    demos = {}
    for demo in plan.demos:
        demos[demo], pairs = grade_demo(studio.model, demo, World(*halves, kinds), plan, studio.tell)
        grids.save_pairs(pairs.base, pairs.adapted, studio.sheet(demo))
    features = choose_features([figures["in_domain"] for figures in demos.values()])
    return {"recipe": RECIPE, "preset": PRESET, "features": features, "demos": demos}


def main() -> None:
    """Parse the command line, grade, and print the table."""
    from studio import quiet
    from studio.starter.figures import table

    parser = argparse.ArgumentParser(description="Grade the embedded model.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--without-adaptation", action="store_true", help="leave out what takes minutes: adapting to the demos")
    a = parser.parse_args()
    quiet.silence()
    scope = Scope(adaptation=None) if a.without_adaptation else Scope()
    try:
        print(table(a.model, report(a.model, a.out, print, scope)))
    except StudioError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
