"""What is known about which method suits which pictures: published findings as rows, each with the name of its source. No torch here."""

from dataclasses import dataclass

STYLE, SUBJECT, MODALITY = GOALS = ("style", "subject", "modality")
ANY = GOALS
MANY = 10**9


@dataclass(frozen=True)
class Reason:
    """One sentence, and who found it."""

    text: str
    source: str


@dataclass(frozen=True)
class Rule:
    """A recipe that suits goals with at least `least` and at most `most` pictures; earlier rules are preferred."""

    recipe: str
    goals: tuple[str, ...]
    least: int
    most: int
    reason: Reason


@dataclass(frozen=True)
class Hint:
    """A setting, or with no `assignment` only something to know, for goals and numbers of pictures; `recipe` "" = any."""

    goals: tuple[str, ...]
    least: int
    most: int
    reason: Reason
    assignment: str = ""
    recipe: str = ""


RULES = (
    Rule(
        "ddpm-lora", ANY, 1, 99,
        Reason("With few pictures what counts is how much of the base's diversity is left, and an adapter changes least of it.", "DDPM-PA"),
    ),
    Rule("ddpm-full", ANY, 100, MANY, Reason("A hundred pictures and more can carry training of the whole pixel network.", "DDPM")),
    Rule("ddpm-lora", ANY, 100, MANY, Reason("An adapter keeps more of the base than training the whole network.", "DDPM-PA")),
    Rule(
        "dreambooth-lora", (SUBJECT,), 1, MANY,
        Reason("DreamBooth drew subjects more faithfully than a learned word (DINO .668 against .569); people preferred it 68 % to 22 %.",
               "DreamBooth"),
    ),
    Rule(
        "lora", (SUBJECT,), 1, MANY,
        Reason("Of the adapters compared on one subject LoRA came closest (DINO .743 at rank 64; full fine-tuning .577).",
               "PEFT image-gen bench"),
    ),
    Rule(
        "lora", (STYLE, MODALITY), 1, MANY,
        Reason("LoRA on attention and feed-forward layers reached the held-out loss of full fine-tuning (.12874 against .12882).", "DSF"),
    ),
    Rule(
        "full", (STYLE, MODALITY), 200, MANY,
        Reason("Full fine-tuning, well tuned, is the most faithful of all, at the price of memory and a file as large as the base.",
               "LyCORIS"),
    ),
    Rule(
        "dreambooth-full", (SUBJECT,), 1, MANY,
        Reason("The whole denoiser learned a subject in about 1000 steps from 4 to 6 pictures; the file is as large as the base.",
               "DreamBooth"),
    ),
    Rule(
        "textual-inversion", (MODALITY,), 100, MANY,
        Reason("A word learned from 100 pictures of a modality served a classifier far better than one from 10 (AUC .766 against .562).",
               "Medical TI"),
    ),
    Rule(
        "textual-inversion", (SUBJECT, STYLE), 1, 30,
        Reason("A word of a few kilobytes will do where the base can nearly draw it already, less faithfully (DINO .569).", "DreamBooth"),
    ),
    Rule(
        "pivotal", ANY, 5, MANY,
        Reason("A word and layers trained together, as the diffusers recipe does it; no figures are published for it.", "diffusers"),
    ),
    Rule(
        "oft", (STYLE, SUBJECT), 1, MANY,
        Reason("Orthogonal fine-tuning came near LoRA (DINO .708) in 0.69 of its time.", "PEFT image-gen bench"),
    ),
    Rule(
        "lokr", (STYLE, SUBJECT), 1, MANY,
        Reason("LoKr was as close as LoRA of rank 32 (DINO .697) with 0.78 M parameters, in 2.8 times its time.", "PEFT image-gen bench"),
    ),
)  # fmt: skip

HINTS = (
    Hint(
        (MODALITY,), 1, MANY, Reason("For medical pictures a word needs more room: 8 to 16 vectors.", "Medical TI"),
        "method.num_vectors=8", "textual-inversion",
    ),
    Hint(
        (SUBJECT,), 1, MANY,
        Reason("Name what the subject is in every caption: with the right class noun DINO rose from .303 (none) to .744.", "DreamBooth"),
    ),
    Hint(
        (MODALITY,), 1, MANY,
        Reason("Say in captions what is known of a picture: metadata took the distance to the domain from 38.0 to 24.2 (FID).",
               "DiffusionSat"),
    ),
    Hint(
        ANY, 1, 99,
        Reason("More pictures help: held-out loss fell by .35 % with 10, .50 % with 50 and .69 % with 270.", "DSF"),
    ),
    Hint(
        (STYLE, MODALITY), 1, 50,
        Reason("Several crops of each longer picture lowered held-out loss as much as going from 20 to 50 pictures.", "DSF"),
        "data.crops=4",
    ),
)  # fmt: skip

SHORT = Reason("Few pictures are soon learned: up to 8 are given a small budget, a ceiling that early stop may cut.", "tool consensus")
LONG = Reason("The budget grows with the pictures and is a ceiling: past its lowest held-out loss a run gets worse, and stops.", "DSF")
PARTS = "In parts of {part} the batch needs about {needs:.1f} GiB instead of {whole:.1f}, and learns the same."
FIT = "fit planner"
