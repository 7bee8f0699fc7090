"""A residual net for series."""

from collections import OrderedDict

from torch import Tensor, nn

KERNELS = (8, 5, 3)


class ResNet1D(nn.Module):
    """Three residual blocks of three convolutions over time, 8, 5 and 3 samples long, averaged over time.

    Wang et al. 2017, section II.C, https://arxiv.org/abs/1611.06455; as in the authors' code, convolutions have a bias,
    each block's shortcut is normalised, and it is a 1 x 1 convolution where the channels change. Nothing is halved:
    maps have the series' length, and an even kernel sees one sample more of the future than of the past. Takes series
    (batch, channels, length) of any length and returns logits (batch, classes). Layers are named: ``block1`` ..
    ``block3`` (each with ``conv1``, ``norm1``, ``relu1``, ``conv2`` ... ``norm3``, ``shortcut``, ``relu3``),
    ``average``, ``flatten``, ``head``. Each ReLU is a module of its own and not in place.

    Args:
        classes: Number of logits.
        channels: Channels of the series.
        width: Filters of the first block; the others have twice as many.

    Raises:
        ValueError: If a size is not positive.
    """

    def __init__(self, classes: int, channels: int, width: int = 64) -> None:
        super().__init__()
        if min(classes, channels, width) < 1:
            raise ValueError(f"sizes must be positive, got classes={classes}, channels={channels}, width={width}")
        self.block1 = _ResidualBlock(channels, width)
        self.block2 = _ResidualBlock(width, 2 * width)
        self.block3 = _ResidualBlock(2 * width, 2 * width)
        self.average = nn.AdaptiveAvgPool1d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(2 * width, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes) of series (batch, channels, length)."""
        maps = self.block3(self.block2(self.block1(inputs)))
        logits: Tensor = self.head(self.flatten(self.average(maps)))
        return logits


class _ResidualBlock(nn.Module):
    """Three convolutions beside a shortcut: (batch, before, length) to (batch, after, length)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        first, second, third = KERNELS
        self.conv1 = _SameConvolution(before, after, first)
        self.norm1 = nn.BatchNorm1d(after)
        self.relu1 = nn.ReLU()
        self.conv2 = _SameConvolution(after, after, second)
        self.norm2 = nn.BatchNorm1d(after)
        self.relu2 = nn.ReLU()
        self.conv3 = _SameConvolution(after, after, third)
        self.norm3 = nn.BatchNorm1d(after)
        conv = [] if before == after else [("conv", nn.Conv1d(before, after, kernel_size=1))]
        self.shortcut = nn.Sequential(OrderedDict([*conv, ("norm", nn.BatchNorm1d(after))]))
        self.relu3 = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """Return the block's maps, after the last ReLU."""
        inner = self.relu1(self.norm1(self.conv1(maps)))
        inner = self.relu2(self.norm2(self.conv2(inner)))
        result: Tensor = self.relu3(self.norm3(self.conv3(inner)) + self.shortcut(maps))
        return result


class _SameConvolution(nn.Sequential):
    """A convolution whose output has its input's length; torch's own ``padding="same"`` warns at even kernels."""

    def __init__(self, before: int, after: int, kernel: int) -> None:
        pad = nn.ConstantPad1d(((kernel - 1) // 2, kernel // 2), 0.0)
        super().__init__(OrderedDict(pad=pad, conv=nn.Conv1d(before, after, kernel)))
