"""Fully connected nets with shortcuts, for tables."""

from collections import OrderedDict

from torch import Tensor, nn

from kdlab.models.numerical_embeddings import NumericalEmbedding


class ResidualMLP(nn.Sequential):
    """Flattens its input, then a linear layer and residual blocks of two more.

    The ResNet for tables of Gorishniy et al. 2021, section 3.2, https://arxiv.org/abs/2106.11959: ``Linear(ReLU(
    BatchNorm(block(... block(Linear(x))))))`` with ``block(x) = x + Dropout(Linear(Dropout(ReLU(Linear(BatchNorm(
    x))))))``. Layers are named: ``flatten``, ``embedding`` (if there is one, from (batch, inputs) to (batch, inputs,
    its width)) and ``join``, ``stem``, ``block1`` ... (each with ``norm``, ``linear1``, ``relu``, ``dropout1``,
    ``linear2``, ``dropout2``), ``norm``, ``relu``, ``head``, whose output are the logits (batch, classes). Each ReLU is
    a module of its own and not in place. A training batch has at least 2 samples.

    Args:
        inputs: Number of values of one input, all dimensions together.
        classes: Number of logits.
        width: Units between blocks.
        blocks: Number of blocks.
        expansion: How many times wider a block is inside.
        dropout: Probability of dropping a unit inside a block in training, in [0, 1).
        residual_dropout: The same of what a block adds.
        embedding: Gives each number of the input a vector, such as ``PeriodicEmbedding`` or
            ``PiecewiseLinearEmbedding``; None takes the numbers as they are.

    Raises:
        ValueError: If a size is not positive, or a dropout not in [0, 1).
    """

    def __init__(
        self,
        inputs: int,
        classes: int,
        width: int = 192,
        blocks: int = 2,
        expansion: int = 2,
        dropout: float = 0.0,
        residual_dropout: float = 0.0,
        embedding: NumericalEmbedding | None = None,
    ) -> None:
        if min(inputs, classes, width, blocks, expansion) < 1:
            raise ValueError(
                f"sizes must be positive, got inputs={inputs}, classes={classes}, width={width}, blocks={blocks},"
                f" expansion={expansion}"
            )
        if not (0 <= dropout < 1 and 0 <= residual_dropout < 1):
            raise ValueError(f"dropouts must be in [0, 1), got {dropout} and {residual_dropout}")
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        if embedding is not None:
            layers["embedding"] = embedding.layers(inputs)
            layers["join"] = nn.Flatten()
        layers["stem"] = nn.Linear(inputs * (1 if embedding is None else embedding.width), width)
        for number in range(1, blocks + 1):
            layers[f"block{number}"] = _ResidualBlock(width, expansion * width, dropout, residual_dropout)
        layers["norm"] = nn.BatchNorm1d(width)
        layers["relu"] = nn.ReLU()
        layers["head"] = nn.Linear(width, classes)
        super().__init__(layers)


class _ResidualBlock(nn.Module):
    """Two linear layers beside a shortcut: (batch, width) to the same shape."""

    def __init__(self, width: int, inside: int, dropout: float, residual_dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.linear1 = nn.Linear(width, inside)
        self.relu = nn.ReLU()
        self.dropout1 = nn.Dropout(dropout)
        self.linear2 = nn.Linear(inside, width)
        self.dropout2 = nn.Dropout(residual_dropout)

    def forward(self, units: Tensor) -> Tensor:
        """Return the block's units, before normalisation."""
        inner = self.linear2(self.dropout1(self.relu(self.linear1(self.norm(units)))))
        result: Tensor = units + self.dropout2(inner)
        return result
