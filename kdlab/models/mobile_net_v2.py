"""MobileNetV2 for small images at any width."""

from collections import OrderedDict

from torch import Tensor, nn

# Of each stage: channels at full width, blocks, stride of the first block.
STAGES = ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))


class MobileNetV2(nn.Module):
    """Inverted residual blocks: a wide depthwise convolution between two narrow 1 x 1 convolutions.

    Sandler et al. 2018, section 4, table 2, https://arxiv.org/abs/1801.04381, in the form that Tian et al. 2020,
    https://arxiv.org/abs/1910.10699, use for images of 32 x 32: the second stage is not halved, ReLU is not cut at 6,
    and the first block has its 1 x 1 convolution too. Takes images (batch, channels, height, width) and returns logits
    (batch, classes). Layers are named: ``stem``, ``stage1`` .. ``stage7`` (blocks ``stage1.0`` ...), ``last``,
    ``average``, ``flatten``, ``head``. Each ReLU is a module of its own and not in place.

    Args:
        classes: Number of logits.
        width: Multiplies the channels of all stages; the last 1280 grow above 1 and never shrink.
        channels: Channels of the images: 1 grey, 3 colour.
        expansion: How many times wider a block is inside, from the second stage on.

    Raises:
        ValueError: If a size is not positive, or the width so small that a stage has no channel.
    """

    def __init__(self, classes: int, width: float = 0.5, channels: int = 3, expansion: int = 6) -> None:
        super().__init__()
        if min(classes, channels, expansion) < 1 or width * 16 < 1:
            raise ValueError(
                f"sizes must be positive and width at least 1/16, got classes={classes}, width={width},"
                f" channels={channels}, expansion={expansion}"
            )
        before = int(32 * width)
        self.stem = _convolution(channels, before, kernel=3, stride=2)
        stages: list[nn.Module] = []
        for number, (size, blocks, stride) in enumerate(STAGES):
            after, times = int(size * width), expansion if number else 1
            first = _InvertedBlock(before, after, stride, times)
            stages.append(nn.Sequential(first, *(_InvertedBlock(after, after, 1, times) for _ in range(blocks - 1))))
            before = after
        self.stage1, self.stage2, self.stage3, self.stage4, self.stage5, self.stage6, self.stage7 = stages
        last = int(1280 * max(width, 1.0))
        self.last = _convolution(before, last, kernel=1, stride=1)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(last, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, channels, height, width)."""
        maps = self.stage3(self.stage2(self.stage1(self.stem(inputs))))
        maps = self.last(self.stage7(self.stage6(self.stage5(self.stage4(maps)))))
        logits: Tensor = self.head(self.flatten(self.average(maps)))
        return logits


class _InvertedBlock(nn.Module):
    """Widens, filters each channel alone, narrows again; added to its input where the sizes are equal."""

    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self.widen = _convolution(before, wide, kernel=1, stride=1)
        self.filter = _convolution(wide, wide, kernel=3, stride=stride, groups=wide)
        self.narrow = nn.Sequential(
            OrderedDict(conv=nn.Conv2d(wide, after, kernel_size=1, bias=False), norm=nn.BatchNorm2d(after))
        )
        self.adds = stride == 1 and before == after

    def forward(self, maps: Tensor) -> Tensor:
        """Return the block's maps, without an activation."""
        inner: Tensor = self.narrow(self.filter(self.widen(maps)))
        return maps + inner if self.adds else inner


def _convolution(before: int, after: int, kernel: int, stride: int, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(after), relu=nn.ReLU()))
