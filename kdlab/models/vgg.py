"""VGG nets for small images."""

from collections import OrderedDict

from torch import nn

# Convolutions of each of the five blocks, by the number of layers.
CONVOLUTIONS = {
    8: (1, 1, 1, 1, 1),
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


class VGG(nn.Sequential):
    """Five blocks of 3 x 3 convolutions with batch normalisation and ReLU, halved after each of the first three.

    Simonyan and Zisserman 2015, table 1, https://arxiv.org/abs/1409.1556, in the form for images of 32 x 32 that Tian
    et al. 2020, https://arxiv.org/abs/1910.10699, use: one linear layer in place of three, and VGG-8 with one
    convolution in each block, whose depth counts the three linear layers as well. Takes images (batch, channels,
    height, width) of any size from 8 on and returns logits (batch, classes). Layers are named: ``block1`` (with
    ``conv1``, ``norm1``, ``relu1``, ``conv2`` ...), ``pool1``, ``block2``, ``pool2``, ``block3``, ``pool3``,
    ``block4``, ``block5``, ``average``, ``flatten``, ``head``. Each ReLU is a module of its own and not in place.

    Args:
        classes: Number of logits.
        depth: Number of layers: 8, 11, 13, 16 or 19.
        width: Channels of the first block; the others have two, four, eight and eight times as many.
        channels: Channels of the images: 1 grey, 3 colour.

    Raises:
        ValueError: If there is no such depth, or a size is not positive.
    """

    def __init__(self, classes: int, depth: int = 8, width: int = 64, channels: int = 3) -> None:
        if depth not in CONVOLUTIONS:
            raise ValueError(f"depth must be one of {', '.join(map(str, CONVOLUTIONS))}, got {depth}")
        if min(classes, width, channels) < 1:
            raise ValueError(f"sizes must be positive, got classes={classes}, width={width}, channels={channels}")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        before = channels
        sizes = (width, 2 * width, 4 * width, 8 * width, 8 * width)
        for number, (after, convolutions) in enumerate(zip(sizes, CONVOLUTIONS[depth], strict=True), start=1):
            layers[f"block{number}"] = _block(before, after, convolutions)
            if number <= 3:
                layers[f"pool{number}"] = nn.MaxPool2d(2)
            before = after
        layers["average"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["head"] = nn.Linear(before, classes)
        super().__init__(layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _block(before: int, after: int, convolutions: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(1, convolutions + 1):
        layers[f"conv{number}"] = nn.Conv2d(before, after, kernel_size=3, padding=1)
        layers[f"norm{number}"] = nn.BatchNorm2d(after)
        layers[f"relu{number}"] = nn.ReLU()
        before = after
    return nn.Sequential(layers)
