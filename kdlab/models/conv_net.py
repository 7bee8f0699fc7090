"""A small convolutional net at any width."""

from collections import OrderedDict

from torch import nn


class ConvNet(nn.Sequential):
    """Blocks of convolution, batch normalisation and ReLU, halved in between, averaged over the image.

    Takes images (batch, channels, height, width) of any size from 2 ** (blocks - 1) on. Layers are named: ``block1``
    (with ``conv``, ``norm``, ``relu``), ``pool1``, ``block2`` ..., ``average``, ``flatten``, ``head``. The last block
    is not pooled, so that Grad-CAM has its resolution; each ReLU is a module of its own and not in place, so that any
    can be captured and attributed.

    With ``class_maps`` the head comes before the average: a 1 x 1 convolution ``class_maps`` in the place of ``head``,
    whose outputs (batch, classes, height, width) average to the logits. It is the same function of the same weights,
    and the layer that class activation transfer compares.

    Args:
        classes: Number of logits.
        channels: Channels of the images: 1 grey, 3 colour.
        width: Channels of the first block; each further block has twice as many.
        blocks: Number of blocks.
        class_maps: Whether the head gives a map for each class, which is then averaged.

    Raises:
        ValueError: If a size is not positive.
    """

    def __init__(
        self, classes: int, channels: int = 1, width: int = 16, blocks: int = 2, class_maps: bool = False
    ) -> None:
        if min(classes, channels, width, blocks) < 1:
            raise ValueError(
                f"sizes must be positive, got classes={classes}, channels={channels}, width={width}, blocks={blocks}"
            )
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        before, after = channels, width
        for number in range(1, blocks + 1):
            layers[f"block{number}"] = _block(before, after)
            if number < blocks:
                layers[f"pool{number}"] = nn.MaxPool2d(2)
            before, after = after, 2 * after
        if class_maps:
            layers["class_maps"] = nn.Conv2d(before, classes, kernel_size=1)
        layers["average"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        if not class_maps:
            layers["head"] = nn.Linear(before, classes)
        super().__init__(layers)


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False),
            norm=nn.BatchNorm2d(after),
            relu=nn.ReLU(),
        )
    )
