"""Words that captions may take from DICOM tags: those on these lists alone, since free text can hold names."""

import re
from typing import Any

MODALITIES = {
    "CT": "CT", "MR": "MRI", "CR": "X-ray", "DX": "X-ray", "RG": "X-ray", "RF": "fluoroscopy", "US": "ultrasound", "IVUS": "ultrasound",
    "MG": "mammography", "PT": "PET", "NM": "scintigraphy", "XA": "angiography", "OP": "fundus photography", "OPT": "OCT", "OCT": "OCT",
    "SM": "microscopy", "GM": "microscopy", "ES": "endoscopy", "XC": "photograph", "PX": "panoramic X-ray", "IO": "dental X-ray",
}  # fmt: skip
_PARTS = (
    "abdomen adrenal ankle aorta arm bladder brain breast bronchus calcaneus chest clavicle coccyx colon ear elbow eye face femur "
    "fetus finger foot forearm gallbladder hand head heart hip humerus jaw kidney knee leg liver lung mandible maxilla mediastinum "
    "neck orbit ovary pancreas patella pelvis prostate rectum retina rib sacrum scalp scapula shoulder skull spine spleen sternum "
    "stomach thigh thorax thumb thyroid toe uterus wrist zygoma"
).split()
BODY_PARTS = {part.upper(): part for part in _PARTS} | {
    "CSPINE": "cervical spine", "TSPINE": "thoracic spine", "LSPINE": "lumbar spine", "SSPINE": "sacral spine", "LSSPINE": "lumbar spine",
    "HEADNECK": "head and neck", "WHOLEBODY": "whole body", "EXTREMITY": "extremity", "ABDOMENPELVIS": "abdomen and pelvis",
    "CHESTABDOMEN": "chest and abdomen", "CHESTABDPELVIS": "chest, abdomen and pelvis", "CSKULL": "skull", "TMJ": "jaw joint",
}  # fmt: skip
_SEQUENCES = (
    (r"t1\s?w?|t1[ _-]?weighted", "T1"), (r"t2\s?w?|t2[ _-]?weighted", "T2"), (r"t2[*]|t2[ _-]?star", "T2*"), (r"flair", "FLAIR"),
    (r"dwi|diffusion|trace", "DWI"), (r"adc", "ADC"), (r"dti", "DTI"), (r"swi", "SWI"), (r"stir", "STIR"), (r"tof", "time of flight"),
    (r"pdw?|proton[ _-]?density", "PD"), (r"mprage|mp-rage|bravo|spgr", "T1"), (r"bold|fmri", "BOLD"),
    (r"perfusion|pwi|dsc|dce", "perfusion"),
)  # fmt: skip
_VIEWS = {
    "abdomen", "angio", "bone", "brain", "chest", "contrast", "harder", "heart", "liver", "lung", "mediastinum", "narrow", "normal",
    "pelvis", "posterior fossa", "skull", "soft", "soft tissue", "softer", "spine", "stroke", "vessel", "wide",
}  # fmt: skip
_PROJECTIONS = {  # of X-rays and mammograms, PS3.3 C.8.7.1 and C.8.11.7
    **{code: code for code in ("AP", "PA", "CC", "MLO", "ML", "LM", "LMO", "XCCL", "XCCM", "FB", "SIO", "ISO")},
    "LL": "left lateral", "RL": "right lateral", "LATERAL": "lateral", "LAT": "lateral", "LLD": "left decubitus",
    "RLD": "right decubitus", "LLO": "left oblique", "RLO": "right oblique", "OBLIQUE": "oblique",
}  # fmt: skip
_SEARCHED = tuple((re.compile(rf"(?<![a-z0-9])(?:{pattern})(?![a-z0-9])"), word) for pattern, word in _SEQUENCES)
PLANES = ("sagittal", "coronal", "axial")  # by the axis of the patient that the slices follow: left, posterior, head
_OBLIQUE = 0.8  # a normal whose largest part is below this is along no axis


def modality(value: Any) -> str:
    """The modality in a word, "" where the code is none that is listed."""
    return MODALITIES.get(str(value or "").strip().upper(), "")


def body_part(value: Any) -> str:
    """The body part in words, "" where the code is none that is listed."""
    return BODY_PARTS.get(re.sub(r"[^A-Z]", "", str(value or "").upper()), "")


def projection(value: Any) -> str:
    """From where an X-ray was taken, "" where the code is none that is listed."""
    return _PROJECTIONS.get(str(value or "").strip().upper(), "")


def sequence(*texts: Any) -> str:
    """The kind of sequence that descriptions name, "" where none on the list is in them; nothing else of them is kept."""
    text = " ".join(str(each or "") for each in texts).casefold().replace("_", " ")
    return next((word for pattern, word in reversed(_SEARCHED) if pattern.search(text)), "")


def view_name(explanation: Any) -> str:
    """What a file calls one of its windows, "" where that is not on the list."""
    text = re.sub(r"[^a-z]+", " ", str(explanation or "").casefold()).replace("window", "").replace("algo", "")
    return text.strip() if text.strip() in _VIEWS else ""


def normal_of(orientation: Any) -> tuple[float, float, float] | None:
    """The unit normal of a slice from ImageOrientationPatient (row and column directions); None where there is none."""
    try:
        r, c = [float(v) for v in orientation][:3], [float(v) for v in orientation][3:6]
        cross = (r[1] * c[2] - r[2] * c[1], r[2] * c[0] - r[0] * c[2], r[0] * c[1] - r[1] * c[0])
        length = sum(v * v for v in cross) ** 0.5
        return tuple(v / length for v in cross) if length > 0.5 else None
    except (TypeError, ValueError, IndexError):
        return None


def plane_of(normal: tuple[float, float, float] | None) -> str:
    """axial, coronal, sagittal or oblique; "" where it is not known."""
    if normal is None:
        return ""
    sizes = [abs(v) for v in normal]
    return PLANES[sizes.index(max(sizes))] if max(sizes) >= _OBLIQUE else "oblique"
