"""Residual nets for small images."""

from collections import OrderedDict

from torch import Tensor, nn


class ResNet(nn.Module):
    """Three stages of residual blocks at full, half and quarter resolution: 6n + 2 layers.

    He et al. 2016, section 4.2, https://arxiv.org/abs/1512.03385; shortcuts that change the size are 1 x 1 convolutions
    with batch normalisation (their option B). Takes images (batch, channels, height, width) of any size from 4 on and
    returns logits (batch, classes). Layers are named: ``stem``, ``layer1`` .. ``layer3`` (blocks ``layer1.0`` ..., each
    with ``conv1``, ``norm1``, ``relu1``, ``conv2``, ``norm2``, ``shortcut``, ``relu2``), ``average``, ``flatten``,
    ``head``. Each ReLU is a module of its own and not in place.

    Args:
        classes: Number of logits.
        depth: Number of layers, 6n + 2: 8, 14, 20, 32, 44, 56 ...
        width: Channels of the first stage; the others have two and four times as many.
        channels: Channels of the images: 1 grey, 3 colour.

    Raises:
        ValueError: If the depth is not 6n + 2 with n >= 1, or a size is not positive.
    """

    def __init__(self, classes: int, depth: int = 20, width: int = 16, channels: int = 3) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6n + 2 (8, 14, 20, 32 ...), got {depth}")
        if min(classes, width, channels) < 1:
            raise ValueError(f"sizes must be positive, got classes={classes}, width={width}, channels={channels}")
        blocks = (depth - 2) // 6
        self.stem = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False),
                norm=nn.BatchNorm2d(width),
                relu=nn.ReLU(),
            )
        )
        self.layer1 = _stage(width, width, blocks, stride=1)
        self.layer2 = _stage(width, 2 * width, blocks, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, blocks, stride=2)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(4 * width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, channels, height, width)."""
        maps = self.layer3(self.layer2(self.layer1(self.stem(inputs))))
        logits: Tensor = self.head(self.flatten(self.average(maps)))
        return logits


class _ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut: (batch, before, height, width) to (batch, after, ...)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(after, after, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                OrderedDict(
                    conv=nn.Conv2d(before, after, kernel_size=1, stride=stride, bias=False), norm=nn.BatchNorm2d(after)
                )
            )
        self.relu2 = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """Return the block's maps, after the last ReLU."""
        inner = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(maps)))))
        result: Tensor = self.relu2(inner + self.shortcut(maps))
        return result


def _stage(before: int, after: int, blocks: int, stride: int) -> nn.Sequential:
    first = _ResidualBlock(before, after, stride)
    return nn.Sequential(first, *(_ResidualBlock(after, after, stride=1) for _ in range(blocks - 1)))
