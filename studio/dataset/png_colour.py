"""The colours of a PNG that says by numbers (gAMA, cHRM, cICP) what they mean, as the ICC profile that says the same."""

import struct
from functools import lru_cache

import numpy as np
from PIL import Image

_SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # x, y of white, red, green, blue
_PRIMARIES = {
    1: _SRGB,
    9: (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    12: (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}
_LINEAR, _HDR = 8, {16, 18}  # transfer functions by H.273: PQ and HLG
_SRGB_GAMMA, _SAME_GAMMA = 1 / 2.2, 0.05  # by so much 1 / 2.2 may be missed, as in libpng
_GAMMAS = (0.1, 5.0)  # others are mistakes
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_CURVE = 1024
_HEAD_BYTES = 2**16  # of a file: what is searched for cICP


def number_profile(image: Image.Image, data: bytes) -> tuple[bytes | None, str]:
    """(an ICC profile for the PNG `data`, opened as `image`; None where it is sRGB or says nothing, a note where it cannot be met).

    The newer word wins: cICP, then sRGB, then gAMA with cHRM (PNG, third edition, 4.3); an ICC profile is the caller's.
    """
    if image.format != "PNG":
        return None, ""
    code = _cicp(data)
    if code and code[0] in _PRIMARIES:
        if code[1] in _HDR:
            return None, "its high dynamic range was read as if it were usual: export it as sRGB for true colours"
        return (None if code[0] == 1 and code[1] != _LINEAR else _profile(1.0 if code[1] == _LINEAR else 0.0, _PRIMARIES[code[0]])), ""
    gamma = image.info.get("gamma")
    if "srgb" in image.info or not isinstance(gamma, float) or not _GAMMAS[0] <= gamma <= _GAMMAS[1]:
        return None, ""
    primaries = tuple(map(float, image.info.get("chromaticity", _SRGB)))
    is_usual = abs(gamma / _SRGB_GAMMA - 1) < _SAME_GAMMA
    return _profile(0.0 if is_usual else gamma, primaries), ""


def _cicp(data: bytes) -> bytes | None:
    """The four numbers of a cICP chunk before the pixels; None where there is none."""
    end = data.find(b"IDAT", 0, _HEAD_BYTES)
    at = data.find(b"\0\0\0\4cICP", 0, end if end > 0 else _HEAD_BYTES)
    return data[at + 8 : at + 12] if at > 0 else None


@lru_cache(maxsize=16)
def _profile(gamma: float, primaries: tuple[float, ...]) -> bytes | None:
    """A matrix profile (ICC.1:2001, 6.3.1.2); gamma 0 is the curve of sRGB. None where the primaries span no colours."""
    xy = np.array(primaries).reshape(4, 2)
    if not (np.isfinite(xy).all() and (xy > 0).all() and (xy.sum(1) <= 1).all()):
        return None
    white, *corners = np.stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(1)) / xy[:, 1]], 1)
    corners = np.array(corners).T
    if abs(np.linalg.det(corners)) < 1e-3:
        return None
    to_xyz = corners * np.linalg.solve(corners, white)
    cones = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD @ to_xyz
    level = np.linspace(0, 1, _CURVE)
    light = level ** (1 / gamma) if gamma else np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    curve = struct.pack(">4sII", b"curv", 0, _CURVE) + np.rint(light * 65535).astype(">u2").tobytes()
    tags = {b"desc": _text(b"by numbers"), b"cprt": b"text\0\0\0\0none\0\0\0\0", b"wtpt": _xyz(_D50)}
    tags |= {name + b"XYZ": _xyz(column) for name, column in zip((b"r", b"g", b"b"), adapted.T, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return _packed(tags)


def _packed(tags: dict[bytes, bytes]) -> bytes:
    at, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += struct.pack(">4sII", name, at + len(body), len(value))
        body += value + b"\0" * (-len(value) % 4)
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4sI4s4s4s12x4s", size, b"\0" * 4, 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    light = struct.pack(">3i", *np.rint(_D50 * 65536).astype(int))
    return head.ljust(68, b"\0") + light + b"\0" * 48 + table + body


def _xyz(value: np.ndarray) -> bytes:
    return struct.pack(">4sI3i", b"XYZ ", 0, *np.rint(value * 65536).astype(int))


def _text(text: bytes) -> bytes:
    """A textDescriptionType (ICC.1:2001, 6.5.17) in ASCII alone."""
    return struct.pack(">4sII", b"desc", 0, len(text) + 1) + text + b"\0" * (1 + 4 + 4 + 2 + 1 + 67)
