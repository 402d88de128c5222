"""Procedural pictures: textures that icons lack, so that the autoencoder keeps scans and photographs sharp too."""

import numpy as np
from PIL import Image, ImageDraw


def fractal_noise(rng: np.random.Generator, size_px: int, power: float) -> np.ndarray:
    """Gaussian noise with spectrum 1/f^power, scaled to [0, 1]: float32 [size_px, size_px]."""
    f = np.hypot(np.fft.fftfreq(size_px)[:, None], np.fft.rfftfreq(size_px)[None])
    f[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((size_px, size_px))) / f**power
    noise = np.fft.irfft2(spectrum, s=(size_px, size_px))
    low, high = np.quantile(noise, [0.02, 0.98])
    return np.clip((noise - low) / (high - low + 1e-9), 0, 1).astype(np.float32)


def _colours(rng: np.random.Generator, num: int, grey: bool) -> np.ndarray:
    if grey:
        return np.repeat(rng.random((num, 1)), 3, axis=1).astype(np.float32)
    return rng.random((num, 3)).astype(np.float32)


def tinted_noise(rng: np.random.Generator, size_px: int, grey: bool) -> np.ndarray:
    """Fractal noise mapped through a random palette of 2-5 colours, [S, S, 3] in [0, 1] (clouds, terrain, tissue)."""
    noise = fractal_noise(rng, size_px, rng.uniform(0.7, 2.2))
    num = int(rng.integers(2, 6))
    palette, stops = _colours(rng, num, grey), np.sort(rng.random(num))
    return np.stack([np.interp(noise, stops, palette[:, c]) for c in range(3)], -1)


def dead_leaves(rng: np.random.Generator, size_px: int, grey: bool) -> np.ndarray:
    """Overlapping ellipses of random sizes, [S, S, 3] in [0, 1] (Lee, Mumford and Huang 2001): the edge statistics of photographs."""
    picture = np.broadcast_to(_colours(rng, 1, grey), (size_px, size_px, 3)).copy()
    y, x = np.mgrid[:size_px, :size_px].astype(np.float32)
    num = int(rng.integers(15, 70))
    for colour in _colours(rng, num, grey):
        radius = size_px * 0.5 * min(1.0, 0.06 / rng.uniform(0.05, 1.0))
        cy, cx, turn = rng.random() * size_px, rng.random() * size_px, rng.random() * np.pi
        u = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
        v = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
        away = np.sqrt((u / radius) ** 2 + (v / (radius * rng.uniform(0.4, 1))) ** 2)
        cover = np.clip((1 - away) * radius + 0.5, 0, 1)[..., None]
        picture = picture * (1 - cover) + colour * cover
    return picture


def grating(rng: np.random.Generator, size_px: int, grey: bool) -> np.ndarray:
    """A warped sine or square grating between two colours, [S, S, 3] in [0, 1] (folds, fields, stripes)."""
    y, x = np.mgrid[:size_px, :size_px] / size_px
    turn, cycles = rng.random() * np.pi, rng.uniform(2, 14)
    warp = fractal_noise(rng, size_px, 2.0) * rng.uniform(0, 0.5)
    wave = np.sin(2 * np.pi * cycles * (x * np.cos(turn) + y * np.sin(turn) + warp) + rng.random() * 6)
    share = 0.5 + 0.5 * np.clip(wave * rng.uniform(1, 4), -1, 1)
    a, b = _colours(rng, 2, grey)
    return a + (b - a) * share[..., None]


def blob(rng: np.random.Generator, size_px: int, grey: bool) -> np.ndarray:
    """A rough-edged textured body on black or white, [S, S, 3] in [0, 1] (organs, coastlines)."""
    y, x = np.mgrid[:size_px, :size_px] / size_px - 0.5
    edge = rng.uniform(0.25, 0.45) + (fractal_noise(rng, size_px, 1.8) - 0.5) * rng.uniform(0, 0.4)
    away = np.hypot(x * rng.uniform(0.8, 1.3), y * rng.uniform(0.8, 1.3))
    cover = np.clip((edge - away) * size_px + 0.5, 0, 1)[..., None]
    ground = float(rng.random() < 0.3)
    return ground * (1 - cover) + tinted_noise(rng, size_px, grey) * cover


def outlines(rng: np.random.Generator, size_px: int, grey: bool) -> np.ndarray:
    """Shapes with dark outlines, filled or not, and thin strokes, [S, S, 3] in [0, 1] (drawings, silhouettes, diagrams)."""
    side, scale = size_px * 4, 4  # drawn larger, then averaged: smooth edges
    paper = (255, 255, 255) if rng.random() < 0.6 else tuple(int(c) for c in _colours(rng, 1, grey)[0] * 255)
    canvas = Image.new("RGB", (side, side), paper)
    pen = ImageDraw.Draw(canvas)
    ink = (0, 0, 0) if rng.random() < 0.8 else tuple(int(c) for c in _colours(rng, 1, grey)[0] * 255)
    width = int(rng.uniform(0.8, 3.5) * scale)
    for colour in _colours(rng, int(rng.integers(3, 12)), grey):
        fill = tuple(int(c) for c in colour * 255) if rng.random() < 0.6 else None
        centre, radius = rng.random(2) * side, side * rng.uniform(0.05, 0.4)
        turns = np.sort(rng.random(int(rng.integers(3, 9)))) * 2 * np.pi
        points = [tuple(centre + radius * rng.uniform(0.5, 1) * np.array([np.cos(a), np.sin(a)])) for a in turns]
        kind = rng.integers(3)
        if kind == 0:
            pen.ellipse([*(centre - radius), *(centre + radius * rng.uniform(0.3, 1))], fill, ink, width)
        elif kind == 1:
            pen.polygon(points, fill, ink, width)
        else:
            pen.line(points, ink, width, joint="curve")
    return np.asarray(canvas.resize((size_px, size_px), Image.Resampling.BOX)).astype(np.float32) / 255


KINDS = (tinted_noise, dead_leaves, grating, blob, outlines, dead_leaves, blob, outlines)


def make_textures(num: int, size_px: int, seed: int) -> np.ndarray:
    """Draw `num` textures, 40 % of them grey: uint8 RGB [num, size_px, size_px, 3]."""
    rng = np.random.default_rng(seed)
    out = np.empty((num, size_px, size_px, 3), np.uint8)
    for i in range(num):
        picture = KINDS[i % len(KINDS)](rng, size_px, bool(rng.random() < 0.4))
        out[i] = np.rint(np.clip(picture, 0, 1) * 255)
    return out
