"""What is measured on drawn pictures: plain statistics, the judge's features, nearest centroids. Pictures are [B, 3, S, S] in [0, 1]."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from studio.starter.judge import Judge

Features = Callable[["torch.Tensor"], "torch.Tensor"]

LUMA = (0.299, 0.587, 0.114)
INK, PAPER = 0.15, 0.95  # luma below is ink, above is paper
LINE_WIDTHS_PX, LINE_DEPTH = (2, 3), 0.25
FORWARD_BATCH = 128


def statistics(px: "torch.Tensor") -> "torch.Tensor":
    """Colours, saturation, edges, ink, thin dark lines and the border of pictures, without any network: [B, 28]."""
    import torch

    luma = (px * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1)
    saturation = px.amax(1) - px.amin(1)
    border = torch.cat([px[:, :, 0], px[:, :, -1], px[:, :, :, 0], px[:, :, :, -1]], 2)
    edges = [(luma[:, :, 1:] - luma[:, :, :-1]).abs(), (luma[:, 1:] - luma[:, :-1]).abs()]
    scalars = [spread(plane.flatten(1)) for plane in (saturation, *edges)]
    scalars += [plane.float().mean((1, 2)) for plane in (luma < INK, luma > PAPER)]
    for width_px in LINE_WIDTHS_PX:
        scalars += dark_lines(luma, width_px)
    parts = [s if s.ndim == 2 else s[:, None] for s in scalars]
    return torch.cat([px.mean((2, 3)), px.std((2, 3)), border.mean(2), border.std(2), *parts], 1)


def spread(values: "torch.Tensor") -> "torch.Tensor":
    """Mean and standard deviation of values [B, N]: [B, 2]."""
    import torch

    return torch.stack([values.mean(1), values.std(1)], 1)


def dark_lines(luma: "torch.Tensor", width_px: int) -> list["torch.Tensor"]:
    """How much of luma [B, S, S] is darker than both neighbours `width_px` away, across and down: share and mean depth, [B] each."""
    out = []
    for plane in (luma, luma.transpose(1, 2)):
        before, here, after = plane[:, :, : -2 * width_px], plane[:, :, width_px:-width_px], plane[:, :, 2 * width_px :]
        depth = before.minimum(after) - here
        out += [(depth > LINE_DEPTH).float().mean((1, 2)), depth.clamp_min(0).mean((1, 2))]
    return out


def judge_features(judge: "Judge") -> Features:
    """The judge's pooled features (before its last layer) as a function of pictures."""
    import torch

    @torch.no_grad()
    def features(px: torch.Tensor) -> torch.Tensor:
        maps = [judge.trunk(part) for part in (px * 2 - 1).split(FORWARD_BATCH)]
        return torch.cat([torch.cat([m.mean((2, 3)), m.amax((2, 3))], 1) for m in maps])

    return features


def share_of_styles_told(features: "torch.Tensor") -> float:
    """Share of pictures [num_concepts, num_styles, F] whose style is told right; chance is 1 / num_styles.

    Each concept's features are centred on the concept's own mean over the styles, so that what is drawn does not count.
    A picture is told as the style whose mean over all *other* concepts is nearest, features standardised.
    """
    import torch

    count, styles = features.shape[:2]
    assert count > 1, "one concept has no others to compare with"
    centred = features - features.mean(1, keepdim=True)
    centred = centred / centred.flatten(0, 1).std(0).clamp_min(1e-6)
    total, right = centred.sum(0), 0
    for own in centred:
        told = torch.cdist(own, (total - own) / (count - 1)).argmin(1)
        right += int((told == torch.arange(styles)).sum())
    return right / (count * styles)


class Worlds:
    """The pictures of a domain and those of the base, told apart by the nearer centroid of standardised features.

    Several kinds of features count equally, however many numbers each has.
    """

    def __init__(self, domain: "torch.Tensor", base: "torch.Tensor", kinds: Sequence[Features]):
        import torch

        self._kinds, self._scales = kinds, []
        for describe in kinds:
            both = describe(torch.cat([domain, base]))
            self._scales.append((both.mean(0), both.std(0).clamp_min(1e-6) * both.shape[1] ** 0.5))
        self._domain, self._base = self._standard(domain).mean(0), self._standard(base).mean(0)

    def _standard(self, px: "torch.Tensor") -> "torch.Tensor":
        import torch

        return torch.cat([(describe(px) - mean) / std for describe, (mean, std) in zip(self._kinds, self._scales, strict=True)], 1)

    def share_in_domain(self, px: "torch.Tensor") -> float:
        """Share of pictures [n, 3, H, W] that lie nearer to the domain's centroid than to the base's."""
        z = self._standard(px)
        return float(((z - self._domain).norm(dim=1) < (z - self._base).norm(dim=1)).float().mean())


def redness(px: "torch.Tensor") -> "torch.Tensor":
    """How far red exceeds both green and blue, averaged over each picture: [B] in [0, 1]."""
    return (px[:, 0] - px[:, 1:].amax(1)).clamp_min(0).mean((1, 2))
