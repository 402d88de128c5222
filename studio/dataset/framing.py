"""How a picture is framed for training: what a person decided, and the exact pixels of one sample, for training and for screens alike."""

import re
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from studio.errors import StudioError

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_CROP_PX = 16  # a side of a crop; smaller ones hold nothing to learn
MAX_RESIZED_PX = 2**27  # pixels of a resized picture: 4096 px at 8:1
PLAIN_COLOUR = (100, 100, 100)
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Edit(BaseModel):
    """What a person decided about one picture; its file stays as it is.

    Places are shares of the stored picture's sides, so they move with it when it is turned: first the crop is cut out, then it is
    turned, then mirrored. The focal point is the middle of what is kept where a shape takes less than the whole crop.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    crop: tuple[Share, Share, Share, Share] | None = Field(None, description="left, top, right, bottom; None = the whole picture")
    focus: tuple[Share, Share] | None = Field(None, description="x, y; None = the middle of the crop")
    turns: int = Field(0, ge=0, le=3, description="quarter turns clockwise")
    mirror: bool = Field(False, description="left and right exchanged, after the turn")

    @model_validator(mode="after")
    def _has_an_area(self) -> "Edit":
        if self.crop and not (self.crop[0] < self.crop[2] and self.crop[1] < self.crop[3]):
            raise StudioError("crop: left must be below right, and top below bottom")
        return self

    def box_px(self, width: int, height: int) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of the crop in a stored picture of this size, at least one pixel wide and high."""
        if self.crop is None:
            return 0, 0, width, height
        left, top = min(round(self.crop[0] * width), width - 1), min(round(self.crop[1] * height), height - 1)
        return left, top, max(left + 1, round(self.crop[2] * width)), max(top + 1, round(self.crop[3] * height))

    def size_px(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of a stored picture of this size once it is cropped and turned."""
        left, top, right, bottom = self.box_px(width, height)
        return (bottom - top, right - left) if self.turns % 2 else (right - left, bottom - top)

    def seen_focus(self, width: int, height: int) -> tuple[float, float] | None:
        """The focal point as shares of the cropped, turned and mirrored picture; None where none was chosen."""
        if self.focus is None:
            return None
        left, top, right, bottom = self.box_px(width, height)
        x = min(1.0, max(0.0, (self.focus[0] * width - left) / (right - left)))
        y = min(1.0, max(0.0, (self.focus[1] * height - top) / (bottom - top)))
        for _ in range(self.turns):
            x, y = 1 - y, x
        return (1 - x, y) if self.mirror else (x, y)

    def then(self, action: str) -> "Edit":
        """This edit with the picture turned "left" or "right" or mirrored ("mirror") as it is seen now; "reset" takes it all back."""
        if action == "reset":
            return Edit()
        if action == "mirror":
            return self.model_copy(update={"mirror": not self.mirror})
        way = {"right": 1, "left": 3}[action]
        return self.model_copy(update={"turns": (self.turns + (4 - way if self.mirror else way)) % 4})


@dataclass(frozen=True)
class Frame:
    """One training sample as a recipe of exact pixels: applied to a stored picture, in the order of the fields; all px."""

    box: tuple[int, int, int, int]  # left, top, right, bottom: cut out of the stored picture
    turns: int  # quarter turns clockwise
    mirror: int  # 1 = left and right exchanged
    resized: tuple[int, int]  # width, height
    place: tuple[int, int, int, int]  # left, top, right, bottom: cut out of that
    further_turns: int = 0  # the sample's own, as augmentation
    further_mirror: int = 0
    colour: tuple[int, int, int] = PLAIN_COLOUR  # brightness, contrast, saturation in per cent

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the sample."""
        width, height = self.place[2] - self.place[0], self.place[3] - self.place[1]
        return (height, width) if self.further_turns % 2 else (width, height)

    def token(self) -> str:
        """The frame as text that fits into a file's name and an address."""
        return "_".join(".".join(map(str, part)) if isinstance(part, tuple) else str(part) for part in astuple(self))


_NUMBER = r"(\d{1,6})"
_TOKEN = re.compile("_".join(r"\.".join([_NUMBER] * count) for count in (4, 1, 1, 2, 4, 1, 1, 3)))


def parse_frame(token: str) -> Frame:
    """The frame that `Frame.token` wrote; StudioError where it is none, or asks for more than a training sample can be."""
    found = _TOKEN.fullmatch(token)
    if found:
        n = [int(digits) for digits in found.groups()]
        frame = Frame((n[0], n[1], n[2], n[3]), n[4], n[5], (n[6], n[7]), (n[8], n[9], n[10], n[11]), n[12], n[13], (n[14], n[15], n[16]))
        if _is_sound(frame) and frame.token() == token:
            return frame
    raise StudioError("this is not the name of a sample: use the address as it is listed")


def _is_sound(frame: Frame) -> bool:
    left, top, right, bottom = frame.place
    is_inside = left < right <= frame.resized[0] and top < bottom <= frame.resized[1]
    is_small = frame.resized[0] * frame.resized[1] <= MAX_RESIZED_PX and max(frame.colour) <= 200
    flags = frame.turns < 4 and frame.further_turns < 4 and frame.mirror < 2 and frame.further_mirror < 2
    return is_inside and is_small and flags and frame.box[0] < frame.box[2] and frame.box[1] < frame.box[3]


def render(image: "Image", frame: Frame) -> "Image":
    """The pixels of `frame` from a stored picture: RGB, or for a mask (mode L) its greys, which colour shifts leave alone.

    StudioError where the picture is not the one that the frame was made for.
    """
    from PIL import Image as Pillow

    if frame.box[2] > image.width or frame.box[3] > image.height:
        raise StudioError("is smaller than it was when it was read in: import it again")
    image = image if image.mode == "L" else image.convert("RGB")
    if frame.box != (0, 0, *image.size):
        image = image.crop(frame.box)
    image = _turned(image, frame.turns, frame.mirror)
    # A mask is weights: between its neighbours, never beyond them.
    image = image.resize(frame.resized, Pillow.Resampling.BILINEAR if image.mode == "L" else Pillow.Resampling.LANCZOS)
    image = _turned(image.crop(frame.place), frame.further_turns, frame.further_mirror)
    return image if image.mode == "L" else _recoloured(image, frame.colour)


def as_framed(image: "Image", edit: Edit) -> "Image":
    """A stored picture as it is to be seen: cropped, turned and mirrored, at its own size."""
    box = edit.box_px(*image.size)
    return _turned(image if box == (0, 0, *image.size) else image.crop(box), edit.turns, int(edit.mirror))


def _turned(image: "Image", turns: int, mirror: int) -> "Image":
    from PIL.Image import Transpose

    if turns:
        image = image.transpose({1: Transpose.ROTATE_270, 2: Transpose.ROTATE_180, 3: Transpose.ROTATE_90}[turns])
    return image.transpose(Transpose.FLIP_LEFT_RIGHT) if mirror else image


def _recoloured(image: "Image", colour: tuple[int, int, int]) -> "Image":
    from PIL import ImageEnhance

    steps = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for enhance, percent in zip(steps, colour, strict=True):
        if percent != 100:
            image = enhance(image).enhance(percent / 100)
    return image


def check_edit(edit: Edit, width: int, height: int) -> None:
    """StudioError where what `edit` leaves of a stored picture of this size is too small or too elongated to train on."""
    if edit.crop is None:
        return
    short, long = sorted(edit.size_px(width, height))
    if short < min(MIN_CROP_PX, width, height):
        raise StudioError(f"crop: {short} px on its shorter side: at least {MIN_CROP_PX} px are needed")
    if long > 8 * short:
        raise StudioError(f"crop: {long} by {short} px is too elongated to train on: at most 8 to 1")


def describe_edit(edit: Edit | None) -> str:
    """What was decided about a picture, in words; empty where nothing was."""
    if edit is None:
        return ""
    said: list[Any] = [
        edit.crop and "cropped",
        edit.focus and "focal point set",
        edit.turns and f"turned by {90 * edit.turns}°",
        edit.mirror and "mirrored",
    ]
    return ", ".join(filter(None, said))


def describe_frame(frame: Frame) -> str:
    """What augmentation did to a sample, in words."""
    names = ("brightness", "contrast", "saturation")
    said: list[Any] = [
        frame.further_turns and f"turned by {90 * frame.further_turns}°",
        frame.further_mirror and "mirrored",
        *(f"{name} {percent - 100:+d} %" for name, percent in zip(names, frame.colour, strict=True) if percent != 100),
    ]
    return ", ".join(filter(None, said)) or "as it is"
