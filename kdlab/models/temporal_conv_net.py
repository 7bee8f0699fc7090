"""A dilated causal convolutional net for series."""

from torch import Tensor, nn
from torch.nn import functional as F


class TemporalConvNet(nn.Module):
    """Residual blocks of causal convolutions, each reaching twice as far back as the one before; the last step decides.

    Bai et al. 2018, section 3, https://arxiv.org/abs/1803.01271: convolutions of block b (from 0) are dilated by 2^b
    and normalised by weight; the last step sees ``1 + 2 (kernel - 1) (2^blocks - 1)`` samples, ``reach``, which should
    not be less than the series' length: what lies before is not seen. The default size is that of their sequential
    MNIST. Takes series (batch, channels, length) of any length and returns logits (batch, classes). Layers are named:
    ``blocks.0`` ... (each with ``conv1``, ``relu1``, ``dropout1``, ``conv2``, ``relu2``, ``dropout2``, ``shortcut``,
    ``relu``) and ``head``. Each ReLU is a module of its own and not in place.

    Args:
        classes: Number of logits.
        channels: Channels of the series.
        width: Channels of each block.
        blocks: Number of blocks.
        kernel: Samples that a convolution takes, >= 2.
        dropout: Probability of dropping a value after each convolution in training, in [0, 1).

    Raises:
        ValueError: If a size is not positive, the kernel shorter than 2, or the dropout not in [0, 1).
    """

    def __init__(
        self, classes: int, channels: int, width: int = 25, blocks: int = 8, kernel: int = 7, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if min(classes, channels, width, blocks) < 1 or kernel < 2 or not 0 <= dropout < 1:
            raise ValueError(
                f"sizes must be positive, the kernel at least 2 and dropout in [0, 1), got classes={classes},"
                f" channels={channels}, width={width}, blocks={blocks}, kernel={kernel}, dropout={dropout}"
            )
        self.reach = 1 + 2 * (kernel - 1) * (2**blocks - 1)
        self.blocks = nn.Sequential(
            *(
                _CausalBlock(width if number else channels, width, kernel, 2**number, dropout)
                for number in range(blocks)
            )
        )
        self.head = nn.Linear(width, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes) of series (batch, channels, length)."""
        logits: Tensor = self.head(self.blocks(inputs)[:, :, -1])
        return logits


class _CausalBlock(nn.Module):
    """Two causal convolutions beside a shortcut: (batch, before, length) to (batch, after, length)."""

    def __init__(self, before: int, after: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = _CausalConvolution(before, after, kernel, dilation=dilation)
        self.relu1 = nn.ReLU()
        self.dropout1 = nn.Dropout(dropout)
        self.conv2 = _CausalConvolution(after, after, kernel, dilation=dilation)
        self.relu2 = nn.ReLU()
        self.dropout2 = nn.Dropout(dropout)
        self.shortcut: nn.Module = nn.Identity() if before == after else nn.Conv1d(before, after, kernel_size=1)
        self.relu = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """Return the block's maps, after the last ReLU."""
        inner = self.dropout1(self.relu1(self.conv1(maps)))
        inner = self.dropout2(self.relu2(self.conv2(inner)))
        result: Tensor = self.relu(inner + self.shortcut(maps))
        return result


class _CausalConvolution(nn.Conv1d):
    """A convolution over the past alone, each filter the product of its length (``scale``) and its direction.

    Salimans and Kingma 2016, equation 2, https://arxiv.org/abs/1602.07868. The length starts at that of the drawn
    weights. Plain parameters, for torch's own parametrization cannot be pickled.
    """

    def __init__(self, before: int, after: int, kernel: int, dilation: int) -> None:
        super().__init__(before, after, kernel, dilation=dilation)
        self.scale = nn.Parameter(self.weight.detach().flatten(1).norm(dim=1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return maps of the inputs' length."""
        direction = F.normalize(self.weight.flatten(1), dim=1).view_as(self.weight)
        past = self.dilation[0] * (self.kernel_size[0] - 1)
        filters = self.scale[:, None, None] * direction
        return F.conv1d(F.pad(inputs, (past, 0)), filters, self.bias, dilation=self.dilation)
