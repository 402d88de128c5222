"""A decoded picture and one reduced copy of it, made once: its view, its print and most measures are taken from the copy."""

from functools import cached_property

from PIL import Image

COPY_PX = 512  # longer side that the reduced copy has at least: twice that of a view, more than all that is measured on
_SHORT_PX = 192  # and its shorter side: twelve lines for each cell of a print


class Scaled:
    """An RGB picture, and smaller ones made of it without going over all of its pixels each time."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self._factor = max(1, min(max(image.size) // COPY_PX, min(image.size) // _SHORT_PX))

    @cached_property
    def copy(self) -> Image.Image:
        """The picture reduced by a whole factor, to a longer side of COPY_PX or more; itself where it is small or very elongated."""
        return self.image.reduce(self._factor) if self._factor > 1 else self.image

    def resized(self, size: tuple[int, int], resample: Image.Resampling, mode: str = "RGB") -> Image.Image:
        """The picture at this (width, height), px, in "RGB" or in greys ("L"): of the copy where that is large enough."""
        width, height = self.image.size
        source, factor, gap = (self.copy, self._factor, None) if max(size) <= COPY_PX else (self.image, 1, 2.0)
        source = source if mode == source.mode else source.convert(mode)
        return source.resize(size, resample, box=(0, 0, width / factor, height / factor), reducing_gap=gap)

    def within(self, longer_px: int) -> tuple[int, int]:
        """Its (width, height) with at most `longer_px` on the longer side; its own where it is no larger."""
        width, height = self.image.size
        scale = min(1.0, longer_px / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))
