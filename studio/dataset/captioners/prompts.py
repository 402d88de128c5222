"""What captioners that take an instruction are asked, by domain: the terms of the field in an order that prompts can follow."""

_ENDING = "Answer with one line of comma-separated phrases, without an introduction."
PROMPTS = {
    "general": f"Describe this picture for training an image model: subject, its parts, setting, viewpoint, light, style. {_ENDING}",
    "medical": "Describe this medical image: modality, anatomy, view or plane, and what is to be seen (finding); no diagnosis, no advice, "
    f"nothing about the patient. {_ENDING}",
    "satellite": "Describe this image from above: kind of sensor or bands, land cover, structures and their pattern, terrain, season or "
    f"light; no place names. {_ENDING}",
    "microscopy": f"Describe this micrograph: technique and stain, tissue or specimen, magnification if it is shown, structures. {_ENDING}",
    "style": f"Describe only what is shown in this picture, subject by subject, not how it is painted or drawn. {_ENDING}",
    "subject": f"Describe pose, setting, viewpoint and light of the main subject; call it by its plain noun, without its looks. {_ENDING}",
}
DEFAULT_PROMPT = PROMPTS["general"]
