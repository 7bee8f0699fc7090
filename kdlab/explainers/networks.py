"""Building blocks of learned explainers."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn


def fully_connected(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """Return linear layers with GELU between them, smooth so that slopes of the explainer are too.

    Raises:
        ValueError: If a size is not positive.
    """
    sizes = [inputs, *hidden, outputs]
    if min(sizes) < 1:
        raise ValueError(f"sizes must be positive, got {inputs} inputs, hidden {list(hidden)}, {outputs} outputs")
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.GELU()]
    return nn.Sequential(*layers[:-1])


class Squares(nn.Module):
    """What each square of an image is worth to each class, for ``AmortisedShapley`` with ``Superpixels``.

    One hidden layer for each square, of the square with half a square around it and of the whole image, which is told
    by a hidden layer of its own; all squares share the weights. Few and large products, so that a single image costs
    little. (batch, channels, height, width) to (batch, squares * classes), the classes of a square beside each other,
    squares numbered along the rows.

    Args:
        shape: (channels, height, width) of an image.
        classes: Number of classes.
        size: Pixels along a square's side, even, divides height and width.
        hidden: Width of both hidden layers.

    Raises:
        ValueError: If a size is not positive, or squares of this size do not fill the image.
    """

    def __init__(self, shape: Sequence[int], classes: int, size: int = 4, hidden: int = 128) -> None:
        super().__init__()
        if len(shape) != 3 or size < 2 or size % 2 or shape[1] % size or shape[2] % size:
            raise ValueError(
                f"squares need images (channels, height, width) that an even size cuts evenly, got {tuple(shape)} and "
                f"size {size}"
            )
        self.around = nn.Unfold(2 * size, padding=size // 2, stride=size)
        self.near = nn.Linear(4 * size**2 * shape[0], hidden)
        self.whole = nn.Sequential(nn.Flatten(), fully_connected(prod(shape), [hidden], hidden))
        self.worth = nn.Sequential(nn.GELU(), nn.Linear(hidden, classes))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the values."""
        near = self.near(self.around(inputs).transpose(1, 2))
        worth: Tensor = self.worth(near + self.whole(inputs)[:, None])
        return worth.flatten(1)
