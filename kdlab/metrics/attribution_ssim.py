"""Structural similarity of two attribution maps of images."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlab.metrics.attribution_agreement import speaks
from kdlab.metrics.base import PerSample
from kdlab.metrics.checks import check_same_shape
from kdlab.metrics.numerics import at_least_float32


def gaussian(size: int, sigma: float, like: Tensor) -> Tensor:
    """Return a normalised Gaussian window of so many pixels a side: (1, 1, size, size)."""
    steps = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    line = torch.exp(-steps.square() / (2 * sigma**2))
    line = line / line.sum()
    return (line[:, None] * line[None, :]).view(1, 1, size, size)


def structural_similarity(first: Tensor, second: Tensor, window: int = 11, sigma: float = 1.5) -> Tensor:
    """Return the mean over places of the SSIM index of two maps: (batch,), NaN where either is zero everywhere.

    ``(2 m_1 m_2 + c_1) (2 s_12 + c_2) / ((m_1^2 + m_2^2 + c_1) (s_1^2 + s_2^2 + c_2))`` with the means, variances and
    covariance under a Gaussian window, ``c_1 = (0.01 L)^2``, ``c_2 = (0.03 L)^2``. Each map is first divided by its own
    largest absolute value, so that values lie in [-1, 1] and L = 2. Channels count the same; places where the window
    leaves the image are left out.

    Args:
        first: (batch, channels, height, width).
        second: (batch, channels, height, width).
        window: Pixels a side; smaller images get the largest odd window that fits.
        sigma: Of the Gaussian, in pixels.
    """
    batch, channels, height, width = first.shape
    size = min(window, (min(height, width) - 1) // 2 * 2 + 1)
    one, other = (at_least_float32(values.detach()) for values in (first, second))
    one, other = (values / values.abs().amax(dim=(1, 2, 3), keepdim=True) for values in (one, other))
    kernel = gaussian(size, sigma, one)
    maps = torch.stack([one, other, one * one, other * other, one * other]).reshape(-1, 1, height, width)
    means = F.conv2d(maps, kernel)
    means = means.reshape(5, batch, channels, means.shape[2] * means.shape[3])
    mean_1, mean_2 = means[0], means[1]
    variance_1, variance_2, covariance = means[2] - mean_1**2, means[3] - mean_2**2, means[4] - mean_1 * mean_2
    low, high = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    index = ((2 * mean_1 * mean_2 + low) * (2 * covariance + high)) / (
        (mean_1**2 + mean_2**2 + low) * (variance_1 + variance_2 + high)
    )
    return index.mean(dim=(1, 2)).masked_fill(~(speaks(first) & speaks(second)), torch.nan)


class AttributionSSIM(PerSample):
    """Structural similarity of two attribution maps of images: [-1, 1], higher is better.

    Each map is scaled to its own largest absolute value. NaN where either map is zero everywhere. Wang et al. 2004,
    equation 13, https://doi.org/10.1109/TIP.2003.819861.

    Args:
        window: Pixels a side of the Gaussian window, odd; smaller images get the largest that fits.
        sigma: Of the window, in pixels.

    Raises:
        ValueError: If the window is not odd or a number is not positive.
    """

    higher_is_better = True

    def __init__(self, window: int = 11, sigma: float = 1.5) -> None:
        super().__init__()
        if window < 1 or window % 2 == 0:
            raise ValueError(f"window must be odd and positive, got {window}")
        if sigma <= 0:
            raise ValueError(f"sigma must be positive, got {sigma}")
        self.window = window
        self.sigma = sigma

    def update(self, attributions: Tensor, teacher_attributions: Tensor) -> None:
        """Take in two maps of one shape, (batch, channels, height, width). Raises ValueError for any other."""
        check_same_shape(attributions=attributions, teacher_attributions=teacher_attributions)
        if attributions.dim() != 4:
            raise ValueError(f"attributions must be (batch, channels, height, width), got {tuple(attributions.shape)}")
        self.add(structural_similarity(attributions, teacher_attributions, self.window, self.sigma))
