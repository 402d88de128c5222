"""Photographs in the public domain (or CC0) for the autoencoder: crops at every scale, none of them of a demo's kind."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from studio.starter.packages import PHOTOGRAPHS, fetch, read_member

# (file, author and licence as skimage/data/README.txt and its documentation name them)
NAMES = {
    "astronaut.png": "NASA, public domain",
    "chelsea.png": "Stefan van der Walt, CC0",
    "coffee.png": "Rachel Michetti, CC0",
    "rocket.jpg": "SpaceX, CC0",
    "hubble_deep_field.jpg": "NASA, public domain",
    "retina.jpg": "Mikael Haggstrom, CC0",
    "brick.png": "CC0Textures, CC0",
    "grass.png": "CC0Textures, CC0",
    "gravel.png": "CC0Textures, CC0",
}
GREY_SHARE = 0.3


def make_crops(packages: Path, num: int, size_px: int, seed: int) -> np.ndarray:
    """Cut `num` squares of random place and scale, turned in eighths, some grey: uint8 RGB [num, size_px, size_px, 3]."""
    archive = fetch(PHOTOGRAPHS, packages)
    photographs = [Image.open(io.BytesIO(read_member(archive, f"skimage/data/{name}"))).convert("RGB") for name in NAMES]
    rng = np.random.default_rng(seed)
    out = np.empty((num, size_px, size_px, 3), np.uint8)
    for n in range(num):
        photograph = photographs[n % len(photographs)]
        side = int(np.exp(rng.uniform(np.log(size_px), np.log(min(photograph.size)))))
        left, top = (int(rng.integers(0, length - side + 1)) for length in photograph.size)
        crop = photograph.crop((left, top, left + side, top + side)).resize((size_px, size_px), Image.Resampling.LANCZOS)
        if rng.random() < GREY_SHARE:
            crop = crop.convert("L").convert("RGB")
        px = np.rot90(np.asarray(crop), int(rng.integers(4)))
        out[n] = px[:, ::-1] if rng.random() < 0.5 else px
    return out
