"""Wide residual nets for small images."""

from torch import Tensor, nn


class WideResNet(nn.Module):
    """Three stages of widened residual blocks at full, half and quarter resolution: 6n + 4 layers, WRN-depth-factor.

    Zagoruyko and Komodakis 2016, section 2, table 1, https://arxiv.org/abs/1605.07146: each convolution comes after
    batch normalisation and ReLU; shortcuts that change the size are 1 x 1 convolutions. Takes images (batch, channels,
    height, width) of any size from 4 on and returns logits (batch, classes). Layers are named: ``stem``, ``layer1`` ..
    ``layer3`` (blocks ``layer1.0`` ..., each with ``norm1``, ``relu1``, ``conv1``, ``norm2``, ``relu2``, ``dropout``,
    ``conv2``, ``shortcut``), ``norm``, ``relu``, ``average``, ``flatten``, ``head``. Each ReLU is a module of its own
    and not in place.

    Args:
        classes: Number of logits.
        depth: Number of layers, 6n + 4: 10, 16, 22, 28, 40 ...
        factor: Widening: the stages have 16, 32 and 64 channels, times this.
        channels: Channels of the images: 1 grey, 3 colour.
        dropout: Probability of dropping a value between a block's convolutions in training, in [0, 1).

    Raises:
        ValueError: If the depth is not 6n + 4 with n >= 1, a size is not positive, or the dropout not in [0, 1).
    """

    def __init__(self, classes: int, depth: int = 16, factor: int = 2, channels: int = 3, dropout: float = 0.0) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth must be 6n + 4 (10, 16, 22, 28, 40 ...), got {depth}")
        if min(classes, factor, channels) < 1 or not 0 <= dropout < 1:
            raise ValueError(
                f"sizes must be positive and dropout in [0, 1), got classes={classes}, factor={factor},"
                f" channels={channels}, dropout={dropout}"
            )
        blocks = (depth - 4) // 6
        self.stem = nn.Conv2d(channels, 16, kernel_size=3, padding=1, bias=False)
        self.layer1 = _stage(16, 16 * factor, blocks, 1, dropout)
        self.layer2 = _stage(16 * factor, 32 * factor, blocks, 2, dropout)
        self.layer3 = _stage(32 * factor, 64 * factor, blocks, 2, dropout)
        self.norm = nn.BatchNorm2d(64 * factor)
        self.relu = nn.ReLU()
        self.average = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(64 * factor, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, channels, height, width)."""
        maps = self.relu(self.norm(self.layer3(self.layer2(self.layer1(self.stem(inputs))))))
        logits: Tensor = self.head(self.flatten(self.average(maps)))
        return logits


class _WideBlock(nn.Module):
    """Two normalised 3 x 3 convolutions beside a shortcut, which starts after the first ReLU where sizes change."""

    def __init__(self, before: int, after: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(before)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.relu2 = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(after, after, kernel_size=3, padding=1, bias=False)
        self.resizes = stride != 1 or before != after
        self.shortcut: nn.Module = nn.Identity()
        if self.resizes:
            self.shortcut = nn.Conv2d(before, after, kernel_size=1, stride=stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the block's maps, before normalisation."""
        active = self.relu1(self.norm1(maps))
        inner = self.conv2(self.dropout(self.relu2(self.norm2(self.conv1(active)))))
        result: Tensor = inner + self.shortcut(active if self.resizes else maps)
        return result


def _stage(before: int, after: int, blocks: int, stride: int, dropout: float) -> nn.Sequential:
    first = _WideBlock(before, after, stride, dropout)
    return nn.Sequential(first, *(_WideBlock(after, after, 1, dropout) for _ in range(blocks - 1)))
