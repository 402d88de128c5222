"""Titles, licences and notices of the demo domains, as written beside their pictures."""

BRAIN = {
    "title": "Brain MRI",
    "about": "Slices of the MNI152 T1 template in three planes: a modality that the base model has never seen.",
    "domain": "medical",
    "licence": "MNI (permissive, notice required)",
    "source": "MNI ICBM152 2009a T1 template as packaged with nilearn 0.14.1 "
    "(nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz)",
    "attribution": "Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological "
    "Institute, McGill University. Template: Fonov et al., NeuroImage 54 (2011) 313-327.",
    "note": "One volume, the average of 152 adults: no claim beyond this demo. Held out in each plane is a slab with "
    "10 mm and more to the nearest training slice; slices of different planes cross.",
    "caption_noun": "T1 brain MRI slice",
    "preview_prompts": [
        "axial T1 brain MRI slice, middle of the brain",
        "coronal T1 brain MRI slice, front of the brain",
        "sagittal T1 brain MRI slice, near the midline",
        "axial T1 brain MRI slice, upper brain",
    ],
}
BRAIN_NOTICE = """# Licence of these pictures

Slices of the MNI ICBM152 2009a T1 template, cut from the file `{member}` of the PyPI package {package} and resampled
to 256 px. The notice below is required in all copies.

> Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill
> University. Permission to use, copy, modify, and distribute this software and its documentation for any purpose and
> without fee is hereby granted, provided that the above copyright notice appear in all copies. The authors and McGill
> University make no representations about the suitability of this software for any purpose. It is provided "as is"
> without express or implied warranty. The authors are not responsible for any data loss, equipment damage, property
> loss, or injury to subjects or patients resulting from the use or misuse of this software package.

References: V. S. Fonov, A. C. Evans, K. Botteron, C. R. Almli, R. C. McKinstry, D. L. Collins and the Brain Development
Cooperative Group, "Unbiased average age-appropriate atlases for pediatric studies", NeuroImage 54 (2011) 313-327;
V. S. Fonov, A. C. Evans, R. C. McKinstry, C. R. Almli and D. L. Collins, "Unbiased nonlinear average age-appropriate
brain templates from birth to adulthood", NeuroImage 47 (2009) S102. The package nilearn itself is under the
BSD-3-Clause licence (copyright its developers); none of its code is here.
"""

SATELLITE = {
    "title": "Satellite",
    "about": "Crops of NASA's cloud-free Blue Marble: a sensor and a viewpoint that the base model has never seen.",
    "domain": "map",
    "licence": "Public domain (NASA)",
    "source": "NASA Blue Marble, as packaged with three-globe 2.45.2 (example/img/earth-blue-marble.jpg)",
    "attribution": "NASA Earth Observatory, Blue Marble.",
    "note": "About 10 km per pixel, equirectangular: stretched towards the poles. Crops never overlap; held out is the "
    "whole band from 90 to 45 degrees west. Cover words come from colour and relief by rule, not from a survey.",
    "caption_noun": "satellite image",
    "preview_prompts": [
        "satellite image, coast and desert, 23N 34E",
        "satellite image, forest, 0N 23E",
        "satellite image, ocean and ice, 73N 34W",
        "satellite image, mountains and desert, 34N 79E",
    ],
}
SATELLITE_NOTICE = """# Licence of these pictures

Crops of NASA's Blue Marble, cut from the file `{member}` of the npm package {package}. Imagery of NASA is generally not
subject to copyright in the United States; NASA asks to be acknowledged as the source: **NASA Earth Observatory, Blue
Marble**. NASA endorses nothing here. The package three-globe itself is under the MIT licence (Copyright (c) 2019 Vasco
Asturiano); none of its code is here.
"""

ICONS = {
    "title": "Icons",
    "about": "OpenMoji drawings with black outlines: an art style that the base model has never seen.",
    "domain": "icons",
    "licence": "CC-BY-SA-4.0 (share-alike)",
    "source": "OpenMoji, as packaged with @iconify-json/openmoji 1.2.29",
    "attribution": "All emojis designed by OpenMoji, the open-source emoji and icon project. License: CC BY-SA 4.0.",
    "note": "Share-alike: what you make from these pictures and pass on may have to carry the same licence. The base "
    "model knows the held-out concepts in other styles, never in this one.",
    "caption_noun": "icon",
    "preview_prompts": [
        "red apple, openmoji style",
        "dog face, openmoji style",
        "rocket, openmoji style",
        "christmas tree, openmoji style",
    ],
}
ICONS_NOTICE = """# Licence of these pictures

All emojis designed by **OpenMoji** (openmoji.org), the open-source emoji and icon project. License: **CC BY-SA 4.0**
(creativecommons.org/licenses/by-sa/4.0). Rendered without other changes to 256 px on white from `{member}` of the npm
package {package}.

Share-alike: adapted versions of these pictures that you pass on must carry this licence or a compatible one, name
OpenMoji and say what was changed. These pictures are not part of the embedded base model's training.
"""
