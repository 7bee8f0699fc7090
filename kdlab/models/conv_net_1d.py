"""A small convolutional net for series."""

from collections import OrderedDict

from torch import nn


class ConvNet1d(nn.Sequential):
    """Blocks of convolution, batch normalisation and ReLU over time, halved in between, averaged over time.

    Takes series (batch, channels, length) of any length from 2 ** (blocks - 1) on. Layers are named as in ``ConvNet``:
    ``block1`` (with ``conv``, ``norm``, ``relu``), ``pool1``, ``block2`` ..., ``average``, ``flatten``, ``head``.

    Args:
        classes: Number of logits.
        channels: Channels of the series.
        width: Channels of the first block; each further block has twice as many.
        blocks: Number of blocks.
        kernel: Samples that a convolution spans, odd.

    Raises:
        ValueError: If a size is not positive, or the kernel even.
    """

    def __init__(self, classes: int, channels: int = 1, width: int = 16, blocks: int = 3, kernel: int = 7) -> None:
        if min(classes, channels, width, blocks, kernel) < 1 or kernel % 2 == 0:
            raise ValueError(
                f"sizes must be positive and the kernel odd, got classes={classes}, channels={channels}, width={width},"
                f" blocks={blocks}, kernel={kernel}"
            )
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        before, after = channels, width
        for number in range(1, blocks + 1):
            layers[f"block{number}"] = nn.Sequential(
                OrderedDict(
                    conv=nn.Conv1d(before, after, kernel, padding=kernel // 2, bias=False),
                    norm=nn.BatchNorm1d(after),
                    relu=nn.ReLU(),
                )
            )
            if number < blocks:
                layers[f"pool{number}"] = nn.MaxPool1d(2)
            before, after = after, 2 * after
        layers["average"] = nn.AdaptiveAvgPool1d(1)
        layers["flatten"] = nn.Flatten()
        layers["head"] = nn.Linear(before, classes)
        super().__init__(layers)
