"""ShuffleNetV2 for small images at its four widths."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

# Channels of the three stages and of the last convolution, by width.
CHANNELS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
BLOCKS = (4, 8, 4)
STEM = 24


class ShuffleNetV2(nn.Module):
    """Blocks that filter one half of the channels, keep the other, and interleave both.

    Ma et al. 2018, section 3, table 5, https://arxiv.org/abs/1807.11164, in the form that Tian et al. 2020,
    https://arxiv.org/abs/1910.10699, use for images of 32 x 32: the first convolution is 1 x 1, and neither it nor a
    pool halves the image. Takes images (batch, channels, height, width) of any size and returns logits (batch,
    classes). Layers are named: ``stem`` (``conv``, ``norm``, ``relu``), ``stage1`` .. ``stage3`` (blocks ``stage1.0``
    ..., each with ``branch`` and ``shortcut``), ``last``, ``average``, ``flatten``, ``head``. Each ReLU is a module of
    its own and not in place.

    Args:
        classes: Number of logits.
        channels: Channels of the images: 1 grey, 3 colour.
        width: Which of the published sizes: 0.5, 1, 1.5 or 2.

    Raises:
        ValueError: If there is no such width, or a size is not positive.
    """

    def __init__(self, classes: int, channels: int, width: float = 1.0) -> None:
        super().__init__()
        if width not in CHANNELS:
            raise ValueError(f"width must be one of {', '.join(f'{scale:g}' for scale in CHANNELS)}, got {width}")
        if min(classes, channels) < 1:
            raise ValueError(f"sizes must be positive, got classes={classes}, channels={channels}")
        *sizes, last = CHANNELS[width]
        self.stem = _pointwise(channels, STEM)
        self.stage1, self.stage2, self.stage3 = (
            _stage(before, after, blocks)
            for before, after, blocks in zip([STEM, *sizes[:-1]], sizes, BLOCKS, strict=True)
        )
        self.last = _pointwise(sizes[-1], last)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(last, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, channels, height, width)."""
        maps = self.last(self.stage3(self.stage2(self.stage1(self.stem(inputs)))))
        logits: Tensor = self.head(self.flatten(self.average(maps)))
        return logits


class _ShuffleBlock(nn.Module):
    """Two halves beside each other, then one channel of each in turn; a block that halves the image filters both."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        half = after // 2
        self.splits = stride == 1
        self.shortcut: nn.Module = nn.Identity()
        if not self.splits:
            self.shortcut = nn.Sequential(OrderedDict(filter=_depthwise(before, stride), mix=_pointwise(before, half)))
        self.branch = nn.Sequential(
            OrderedDict(
                first=_pointwise(half if self.splits else before, half),
                filter=_depthwise(half, stride),
                mix=_pointwise(half, half),
            )
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return the block's maps (batch, after, height / stride, width / stride)."""
        kept, filtered = maps.chunk(2, dim=1) if self.splits else (maps, maps)
        pairs = torch.stack([self.shortcut(kept), self.branch(filtered)], dim=2)
        return pairs.flatten(1, 2)


def _stage(before: int, after: int, blocks: int) -> nn.Sequential:
    first = _ShuffleBlock(before, after, stride=2)
    return nn.Sequential(first, *(_ShuffleBlock(after, after, stride=1) for _ in range(blocks - 1)))


def _pointwise(before: int, after: int) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel_size=1, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(after), relu=nn.ReLU()))


def _depthwise(channels: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, kernel_size=3, stride=stride, padding=1, groups=channels, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(channels)))
