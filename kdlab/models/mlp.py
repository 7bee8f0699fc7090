"""Fully connected nets."""

from collections import OrderedDict

from torch import nn


class MLP(nn.Sequential):
    """Flattens its input, then linear layers with ReLU between them.

    Layers are named, for losses on features: ``flatten``, then ``linear1``, ``relu1`` (and ``dropout1``), ``linear2``
    ..., and ``head``, whose output are the logits (batch, classes).

    Args:
        inputs: Number of values of one input, all dimensions together (64 for an 8 x 8 grey image).
        classes: Number of logits.
        hidden: Units of each hidden layer; empty for a linear model.
        dropout: Probability of dropping a hidden unit in training, in [0, 1).

    Raises:
        ValueError: If a size is not positive, or the dropout not in [0, 1).
    """

    def __init__(self, inputs: int, classes: int, hidden: list[int] = [64], dropout: float = 0.0) -> None:  # noqa: B006 - read only
        if min([inputs, classes, *hidden]) < 1:
            raise ValueError(f"sizes must be positive, got inputs={inputs}, classes={classes}, hidden={hidden}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        sizes = [inputs, *hidden]
        for number, (before, after) in enumerate(zip(sizes, hidden, strict=False), start=1):
            layers[f"linear{number}"] = nn.Linear(before, after)
            layers[f"relu{number}"] = nn.ReLU()
            if dropout:
                layers[f"dropout{number}"] = nn.Dropout(dropout)
        layers["head"] = nn.Linear(sizes[-1], classes)
        super().__init__(layers)
