"""Sanity check, layer by layer: how far down the model an attribution looks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdlab.metrics.base import Unmerged
from kdlab.metrics.explaining import ExplainsAgain
from kdlab.metrics.parameter_randomisation import randomised_similarity


def layers_from_top(model: nn.Module, layers: Sequence[str] | None = None) -> dict[str, list[str]]:
    """Return the parameters by layer, from the output down.

    Args:
        model: Its layers count in the order in which they were registered, which is that of the forward in torch's and
            kdlab's models.
        layers: Paths of submodules from the output down, each with all parameters inside; by default every module
            that has parameters of its own.

    Raises:
        ValueError: If the model, or a layer, has no parameters.
    """
    names = [name for name, _ in model.named_parameters()]
    by_layer: dict[str, list[str]] = {}
    for name in names if layers is None else ():
        by_layer.setdefault(name.rpartition(".")[0], []).append(name)
    ordered = dict(reversed(by_layer.items()))
    for layer in layers or ():
        ordered[layer] = [name for name in names if name.startswith(f"{layer}.")]
    empty = [layer for layer, inside in ordered.items() if not inside]
    if empty or not ordered:
        possible = sorted({name.rpartition(".")[0] for name in names})
        raise ValueError(
            f"no parameters in layers {empty} of {type(model).__name__}; layers that have some: {possible[:20]}"
        )
    return ordered


def randomised_curve(
    model: nn.Module,
    attribute: ExplainsAgain,
    inputs: Tensor,
    attributions: Tensor,
    explained: Tensor,
    *,
    layers: Sequence[Sequence[str]],
    cascade: bool = True,
    absolute: bool = True,
    seed: int = 0,
) -> Tensor:
    """Return the rank correlation with the attributions of the model without each layer's weights: (batch, layers).

    Args:
        model: As in ``randomised_similarity``, as are ``attribute`` to ``explained``, ``absolute`` and ``seed``.
        attribute: a.
        inputs: (batch, ...).
        attributions: a(x), the inputs' shape.
        explained: (batch,), the class explained.
        layers: Names of each layer's parameters, from the output down.
        cascade: Whether a layer loses its weights together with all layers above it, drawn alike at every step; else
            alone.
        absolute: Correlate absolute values.
        seed: Of the draws.

    Raises:
        ValueError: If shapes do not fit, or a name is none of the model's parameters.
    """
    columns = []
    for number, layer in enumerate(layers):
        gone = [name for above in layers[:number] for name in above] if cascade else []
        columns.append(
            randomised_similarity(
                model,
                attribute,
                inputs,
                attributions,
                explained,
                names=[*gone, *layer],
                absolute=absolute,
                seed=seed,
            )
        )
    return torch.stack(columns, dim=1)


class LayerRandomisation(Unmerged):
    """Rank correlation of the attributions before and after layers lost their weights: [-1, 1], lower is better.

    Gives ``01_<layer>``, ``02_<layer>`` ..., the curve from the output down to the inputs, each the mean over samples,
    and their ``mean``; ``nan`` counts scores that are none, where there are any. A layer whose values are all equal, as
    those of a fresh normalisation, has no spread to draw from and no score of its own. With ``cascade`` each layer is
    randomised together with all above it, so that at the last point nothing is left, as in ``ParameterRandomisation``;
    without, each alone, which shows the layers that the attribution does not look at. Adebayo et al. 2018, "cascading"
    and "independent randomization", section 3, https://arxiv.org/abs/1810.03292. Costs an explanation a layer: for
    ``at_test``.

    Args:
        cascade: Whether the layers above a layer are randomised with it.
        layers: Paths of submodules from the output down, such as ``[head, block2, block1]``; by default every module
            that has parameters of its own, normalisation too.
        absolute: Correlate absolute values; signs of early layers flip by chance.
        seed: Of the draws.

    Raises:
        ValueError: If ``layers`` is empty.
    """

    higher_is_better = False

    total: Tensor
    known: Tensor
    missing: Tensor

    def __init__(
        self, cascade: bool = True, layers: Sequence[str] | None = None, absolute: bool = True, seed: int = 0
    ) -> None:
        super().__init__()
        if layers is not None and not layers:
            raise ValueError("layers must name one or more; leave it out for all")
        self.cascade, self.layers, self.absolute, self.seed = cascade, layers, absolute, seed
        # Broadcast to (layers,) by the first update, because how many there are is the model's to say.
        for name in ("total", "known", "missing"):
            self.add_state(name, default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self._names: list[str] = []

    def update(
        self, model: nn.Module, inputs: Tensor, attributions: Tensor, explained: Tensor, attribute: ExplainsAgain
    ) -> None:
        """Take in the model, inputs (batch, ...), attributions of that shape, explained (batch,), what explains again.

        Raises:
            ValueError: If shapes do not fit, or a layer has no parameters.
        """
        groups = layers_from_top(model, self.layers)
        scores = randomised_curve(
            model,
            attribute,
            inputs,
            attributions,
            explained,
            layers=list(groups.values()),
            cascade=self.cascade,
            absolute=self.absolute,
            seed=self.seed,
        ).double()
        self._names = [f"{number:02d}_{layer or type(model).__name__}" for number, layer in enumerate(groups, 1)]
        self.total = self.total + scores.nansum(dim=0)
        self.known = self.known + (~scores.isnan()).sum(dim=0)
        self.missing = self.missing + scores.isnan().sum()

    def compute(self) -> dict[str, Tensor]:
        """Return the curve by layer, its mean, and how many scores are none."""
        curve = (self.total / self.known).float()
        values = {"mean": curve.nanmean(), **dict(zip(self._names, curve.reshape(-1), strict=False))}
        return values | ({"nan": self.missing.float()} if self.missing > 0 else {})
