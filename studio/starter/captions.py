"""Captions of the icons: every wording that the generator and the text tower are trained on."""

STYLE_SUFFIX = "{name}, {style} style"
STYLE_PREFIX = "{style} style {name}"
PLAIN = "{article} {name}"
EMPTY_SHARE = 0.1

BACKGROUNDS = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
    "red": (214, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (250, 215, 60),
    "green": (60, 160, 75),
    "blue": (40, 90, 200),
    "purple": (125, 60, 170),
    "pink": (245, 165, 190),
}


def article(name: str) -> str:
    """Return "a" or "an"."""
    return "an" if name[0] in "aeio" or name.startswith("umb") else "a"


def captions(name: str, style: str, background: str = "white") -> list[str]:
    """Return the three wordings for one picture; a white background goes unmentioned."""
    plain = PLAIN.format(article=article(name), name=name)
    words = [STYLE_SUFFIX.format(name=name, style=style), plain, STYLE_PREFIX.format(name=name, style=style)]
    if background != "white":
        words = [f"{text}, on {article(background)} {background} background" for text in words]
    return words
