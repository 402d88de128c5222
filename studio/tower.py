"""The embedded pair of towers: pictures and texts as features in one space, for captions, likeness and distance.

CLIP (Radford et al. 2021) in small, trained on icons, see assets/starter/README.md. It works offline on any machine.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.models.bases import STARTER

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

VOCABULARY = "vocabulary.json"
BATCH = 64
VIEWS = tuple((width, is_mirrored) for width in (0.9, 1.0, 1.12) for is_mirrored in (False, True))  # as in its training


@dataclass(frozen=True)
class Tower:
    """The text and the vision tower of one model folder, in fp32 on the CPU, loaded at first use."""

    folder: Path = STARTER

    @cached_property
    def vocabulary(self) -> dict[str, Any]:
        """What the towers have words for: names with tags, styles, backgrounds, and how to read their similarities.

        StudioError where there are none.
        """
        file = self.folder / "vision_encoder" / VOCABULARY
        if not file.exists():
            raise StudioError(f"{self.folder} has no image tower with a vocabulary: choose the embedded model")
        return json.loads(file.read_text(encoding="utf-8"))

    @cached_property
    def _vision(self) -> Any:
        from transformers import CLIPVisionModelWithProjection

        return CLIPVisionModelWithProjection.from_pretrained(self.folder / "vision_encoder").float().eval()

    @cached_property
    def _text(self) -> tuple[Any, Any, "torch.Tensor"]:
        from safetensors.torch import load_file
        from transformers import CLIPTextModel, CLIPTokenizer

        projection = load_file(self.folder / "vision_encoder" / "text_projection.safetensors")["text_projection.weight"]
        model = CLIPTextModel.from_pretrained(self.folder / "text_encoder").float().eval()
        return CLIPTokenizer.from_pretrained(self.folder / "tokenizer"), model, projection.float()

    def image_features(self, pictures: Sequence["Image"]) -> "torch.Tensor":
        """Features of RGB pictures of any size, each the mean over VIEWS and of length one: [N, D]."""
        import torch

        parts = []
        with torch.no_grad():
            for n in range(0, len(pictures), BATCH):
                px = self._pixels(pictures[n : n + BATCH])
                parts.append(sum(self._vision(pixel_values=seen(px, *view)).image_embeds for view in VIEWS))
        return torch.nn.functional.normalize(torch.cat(parts), dim=-1) if parts else torch.empty(0, self._vision.config.projection_dim)

    def file_features(self, paths: Sequence[Path]) -> "torch.Tensor":
        """Features of picture files, a batch of them open at a time: [N, D]; StudioError naming one that cannot be read."""
        import torch
        from PIL import Image, UnidentifiedImageError

        parts = []
        for n in range(0, len(paths), BATCH):
            pictures = []
            for path in paths[n : n + BATCH]:
                try:
                    with Image.open(path) as file:
                        pictures.append(file.convert("RGB"))
                except (OSError, UnidentifiedImageError) as error:
                    raise StudioError(f"{path} cannot be read: {error}") from None
            parts.append(self.image_features(pictures))
        return torch.cat(parts) if parts else self.image_features([])

    @cached_property
    def fingerprint(self) -> str:
        """Which weights these are: features of other weights cannot be compared with theirs."""
        weights = self.folder / "vision_encoder" / "model.safetensors"
        return hashlib.sha256(weights.read_bytes()).hexdigest()[:16]

    def _pixels(self, pictures: Sequence["Image"]) -> "torch.Tensor":
        """Pictures padded to squares with the colour of their border, and resized: [N, 3, S, S] in [-1, 1]."""
        import numpy as np
        import torch
        from PIL import Image

        size_px = self._vision.config.image_size
        rows = [np.asarray(squared(p).resize((size_px, size_px), Image.Resampling.LANCZOS, reducing_gap=3.0)) for p in pictures]
        return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float() / 127.5 - 1

    def text_features(self, texts: Sequence[str]) -> "torch.Tensor":
        """Features of texts, each of length one: [N, D]."""
        import torch

        tokenizer, model, projection = self._text
        parts = []
        with torch.no_grad():
            for n in range(0, len(texts), BATCH):
                ids = tokenizer(list(texts[n : n + BATCH]), padding="longest", truncation=True, return_tensors="pt").input_ids
                parts.append(model(input_ids=ids).pooler_output @ projection.T)
        return torch.nn.functional.normalize(torch.cat(parts), dim=-1)


def seen(px: "torch.Tensor", width: float, is_mirrored: bool) -> "torch.Tensor":
    """Pictures [N, 3, S, S] as seen through a window of `width` times their own: below 1 nearer, above 1 from further away."""
    import torch
    from torch.nn import functional as F

    theta = torch.tensor([[-width if is_mirrored else width, 0.0, 0.0], [0.0, width, 0.0]]).expand(len(px), 2, 3)
    return F.grid_sample(px, F.affine_grid(theta, list(px.shape), align_corners=False), padding_mode="border", align_corners=False)


def squared(picture: "Image") -> "Image":
    """`picture` in RGB, centred on a square of its border's mean colour: nothing is cut, nothing is stretched."""
    import numpy as np
    from PIL import Image

    picture = picture.convert("RGB")
    if picture.width == picture.height:
        return picture
    px = np.asarray(picture.reduce(max(1, min(picture.size) // 64)))
    border = np.concatenate([px[0], px[-1], px[:, 0], px[:, -1]]).mean(0)
    side = max(picture.size)
    canvas = Image.new("RGB", (side, side), tuple(int(round(c)) for c in border))
    canvas.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return canvas
