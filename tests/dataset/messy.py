"""A folder as people have them: copies, turned, blurred, dark, letterboxed, enlarged, written on and broken pictures among good ones."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from tests.dataset.corpus import encode


def scene(seed: int, size: tuple[int, int] = (256, 192)) -> Image.Image:
    """A picture with detail at every scale, as photographs have it (energy as 1/f², Field 1987)."""
    random = np.random.default_rng(seed)
    sum_of = np.zeros((size[1], size[0], 3))
    for cells in (4, 8, 16, 32, 64, 128):
        noise = random.integers(0, 256, (max(2, cells * size[1] // size[0]), cells, 3), dtype=np.uint8)
        sum_of += (np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC), float) - 128) / cells**0.5
    return Image.fromarray(np.clip(sum_of / sum_of.std() * 50 + 128, 0, 255).astype(np.uint8))


def letterboxed(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", image.size, "black")
    height = int(image.height * 0.7)
    canvas.paste(image.resize((image.width, height)), (0, (image.height - height) // 2))
    return canvas


def written_on(image: Image.Image) -> Image.Image:
    image = image.copy()
    ImageDraw.Draw(image).text((12, image.height - 44), "Sample text 2024", fill="white", stroke_width=1, stroke_fill="black", font_size=24)
    return image


def as_jpeg(image: Image.Image, quality: int = 60) -> Image.Image:
    return Image.open(io.BytesIO(encode(image, "JPEG", quality=quality))).convert("RGB")


def enlarged(image: Image.Image) -> Image.Image:
    return image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC)


SPOILED: dict[str, Callable[[Image.Image], Image.Image]] = {  # by check: what was done to a picture of its own
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(4)),
    "dark": lambda image: ImageEnhance.Brightness(image).enhance(0.15),
    "bright": lambda image: ImageEnhance.Brightness(image).enhance(3.0),
    "flat": lambda image: Image.new("RGB", image.size, (90, 90, 92)),
    "borders": letterboxed,
    "enlarged": enlarged,
    "text": written_on,
    "small": lambda image: image.resize((48, 36)),
    "elongated": lambda image: image.crop((0, 0, image.width, image.height * 3 // 8)),
}
COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as jpeg": as_jpeg,
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "cropped a little": lambda image: image.crop((4, 3, image.width - 4, image.height - 3)),
}


def fill(folder: Path, num_good: int = 24) -> Path:
    """Write the messy folder; names say what is wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(num_good):
        scene(i).save(folder / f"good {i:02}.png")
        (folder / f"good {i:02}.txt").write_text(f"a scene, number {i}")
    for i, (check, spoil) in enumerate(SPOILED.items()):
        spoil(scene(100 + i)).save(folder / f"bad {check}.png")
    for i, (how, change) in enumerate(COPIES.items()):
        change(scene(i)).save(folder / f"copy {how}.png")
    (folder / "same again.png").write_bytes((folder / "good 05.png").read_bytes())
    scene(6).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "mirrored.png")
    scene(7).transpose(Image.Transpose.ROTATE_90).save(folder / "quarter.png")
    exif = Image.Exif()
    exif[274] = 6
    scene(120).save(folder / "camera.jpg", exif=exif, quality=95)
    (folder / "corrupt.png").write_bytes((folder / "good 01.png").read_bytes()[:900])
    (folder / "notes.png").write_bytes(b"this is no picture")
    return folder
