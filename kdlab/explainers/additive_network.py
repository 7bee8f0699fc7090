"""One small net a feature: a model whose parts can be drawn."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from kdlab.data.preparation import Preparation
from kdlab.explainers.additive_picture import Curve, HeatMap, as_figure
from kdlab.explainers.base import Learned, chosen_class, explaining, flattened, predicted_class, watched
from kdlab.explainers.grouped_net import GroupedNet, PairNets
from kdlab.explainers.interactions import first_samples, ranked_pairs
from kdlab.explainers.reading import reading
from kdlab.explainers.tree_picture import named

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A window of about 50 batches for what is drawn and ranked.
WINDOW = 0.02
# Curves and heat maps in the picture, points along their axes.
DRAWN, DRAWN_PAIRS = 12, 8
POINTS, SQUARES = 100, 40
# Samples that interactions are measured on, and points along each axis of a pair's part.
SAMPLES, GRID = 256, 64


class AdditiveNetwork(Learned):
    """Sum of one small net a feature, and one a chosen pair, that learns the model's distribution.

    ``log q = log_softmax(bias + sum_i f_i(x_i) + sum_ij f_ij(x_i, x_j))``. Agarwal et al. 2021, section 2,
    https://arxiv.org/abs/2004.13912. ``terms`` adds the paper's output penalty (section 2.2), the mean square of
    what the nets say, which keeps unneeded ones quiet.

    Which pairs: those given by ``pairs``, and ``interactions`` more, chosen at each ``refit`` by how strongly they
    interact in the model (``ranked_pairs``) on 256 samples. The model moves while it trains, so the choice may change;
    a slot keeps its pair as long as that is among the strongest 2 * ``interactions``, and one that gets another starts
    silent. Until the first ``refit`` chosen pairs say nothing. Pairs are ranked by the spread of their own interaction:
    of their part without what a sum of two single parts could say (``pure``), for features drawn independently.

    The attribution is the feature's own part for the class explained, minus its mean over the samples seen lately
    and over classes (adding the same to each class changes nothing); half of a pair's goes to each of its features.
    The sum is how much more the sample speaks for the class than the average one.

    Args:
        model: The model explained.
        inputs: Number of values in one flattened input.
        classes: Number of classes.
        hidden: Width of the two hidden layers of each net.
        pairs: Features that may interact, as pairs of numbers.
        penalty: Weight of the output penalty, >= 0.
        feature_names: For the text and the picture; None: as the preparation calls them, else counted.
        class_names: Likewise.
        interactions: How many pairs are chosen from the data, >= 0.
        candidates: Of more features than these, only those with the strongest parts of their own may be chosen; all
            their pairs are measured, ``256 * candidates^2`` forwards of the model at each ``refit``.
        preparation: In whose units the picture's axes are; None: the inputs' own.

    Raises:
        ValueError: If a size or weight is out of range, or a pair names a feature that there is not.
    """

    multiplies_by_inputs: bool = True
    differentiable: bool = True

    mean: Tensor
    strength: Tensor
    lowest: Tensor
    highest: Tensor
    pair_features: Tensor

    def __init__(
        self,
        model: nn.Module,
        inputs: int,
        classes: int,
        hidden: int = 24,
        pairs: Sequence[tuple[int, int]] = (),
        penalty: float = 1e-3,
        feature_names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        interactions: int = 0,
        candidates: int = 50,
        preparation: Preparation | None = None,
    ) -> None:
        super().__init__(model)
        if min(inputs, classes, hidden) < 1 or penalty < 0:
            raise ValueError(
                f"need inputs, classes, hidden >= 1 and penalty >= 0, got {(inputs, classes, hidden, penalty)}"
            )
        measured = min(inputs, candidates) * (min(inputs, candidates) - 1) // 2
        if not 0 <= interactions <= measured:
            raise ValueError(
                f"interactions must lie in 0..{measured}, the pairs of {min(inputs, candidates)} features, "
                f"got {interactions}"
            )
        for first, other in pairs:
            if first == other or not (0 <= first < inputs and 0 <= other < inputs):
                raise ValueError(f"pair {(first, other)} must name two of the {inputs} features, from 0")
        self.inputs, self.penalty, self.candidates = inputs, penalty, candidates
        self.reading = reading(inputs, feature_names, preparation)
        self.class_names = named(class_names, classes, "class")
        self.bias = nn.Parameter(torch.zeros(classes))
        self.singles = GroupedNet(inputs, 1, hidden, classes)
        self.couples = PairNets(torch.tensor(list(pairs)).reshape(-1, 2).long(), interactions, hidden, classes)
        parts = inputs + len(pairs) + interactions
        self.register_buffer("mean", torch.zeros(parts, classes))
        self.register_buffer("strength", torch.zeros(parts))
        self.register_buffer("lowest", torch.full((inputs,), torch.inf))
        self.register_buffer("highest", torch.full((inputs,), -torch.inf))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the predicted log-probabilities (batch, classes) of the model."""
        return log_softmax(self.bias + self.parts(flattened(inputs, self.inputs)).sum(dim=1), dim=1)

    def parts(self, flat: Tensor) -> Tensor:
        """Return what each feature, then each pair, says for each class: (batch, features + pairs, classes)."""
        return torch.cat([self.singles(flat[:, :, None]), self.couples(flat)], dim=1)

    def terms(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the output penalty, and keep track of means and ranges while training."""
        flat = flattened(inputs, self.inputs)
        parts = self.parts(flat)
        if self.training:
            self._note(flat.detach(), parts.detach())
        return {"output_penalty": self.penalty * parts.square().mean()}

    def _note(self, flat: Tensor, parts: Tensor) -> None:
        window = WINDOW if bool(self.lowest.isfinite().all()) else 1.0
        self.mean.lerp_(parts.mean(dim=0).to(self.mean), window)
        self.strength.lerp_((self._centred(parts).abs().mean(dim=(0, 2))).to(self.strength), window)
        torch.minimum(self.lowest, flat.amin(dim=0).to(self.lowest), out=self.lowest)
        torch.maximum(self.highest, flat.amax(dim=0).to(self.highest), out=self.highest)

    def _centred(self, parts: Tensor) -> Tensor:
        centred = parts - self.mean
        return centred - centred.mean(dim=2, keepdim=True)

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return parts in the inputs' shape; ``target`` (batch,) is the class explained, None the model's own."""
        explained = predicted_class(self.model, inputs) if target is None else target
        with explaining(self) as keep_graph, torch.set_grad_enabled(keep_graph):
            flat = flattened(watched(inputs, keep_graph), self.inputs)
            parts = self._centred(self.parts(flat))
            explained = chosen_class(parts[:, 0], explained)
            parts = parts.gather(2, explained[:, None, None].expand(-1, parts.shape[1], 1))[:, :, 0]
            own, shared = parts[:, : self.inputs], parts[:, self.inputs :] / 2
            for side in self.couples.sides():
                own = own.index_add(1, side, shared)
            return own.reshape(inputs.shape)

    def refit(self, loader: Iterable[Mapping[str, Any]]) -> None:
        """Choose pairs by how they interact in the model now, and measure their parts; nothing without such pairs.

        Raises:
            ValueError: If pairs are to be chosen and there is no batch.
        """
        if not self.couples.slots:
            return
        inputs = first_samples(loader, SAMPLES)[:SAMPLES]
        strongest = self.strength[: self.inputs].argsort(descending=True, stable=True)
        with explaining(self.model):
            other = self.couples.choose(*ranked_pairs(self.model, inputs, strongest[: self.candidates].cpu()))
        self.mean[self.inputs :][other] = 0.0
        self.strength[self.inputs :][other] = 0.0
        self.couples.measure(flattened(inputs[:GRID], self.inputs))

    def ranking(self) -> list[tuple[str, float]]:
        """Return features and pairs by their mean absolute part, strongest first."""
        held = [*range(self.inputs), *(self.inputs + self.couples.held.nonzero()[:, 0]).tolist()]
        return sorted(((self._name(part), float(self.strength[part])) for part in held), key=lambda one: -one[1])

    def ranked_interactions(self) -> list[tuple[str, float, float]]:
        """Return the pairs by the spread of their own interaction, with that and how they interact in the model.

        Both in logits, the second NaN for a pair given by hand of which a feature is no candidate. Empty before the
        first ``refit`` and without ``interactions``.
        """
        couples = self.couples
        return [
            (self._name(self.inputs + slot), float(couples.spread[slot]), float(couples.strength[slot]))
            for slot in couples.ranked()
        ]

    def _name(self, part: int) -> str:
        if part < self.inputs:
            return self.reading.name(part)
        first, other = self.couples.features[part - self.inputs].tolist()
        return f"{self.reading.name(first)} & {self.reading.name(other)}"

    def describe(self) -> dict[str, float]:
        """Return how many parts make up 90 % of the strength, the pairs' share of it, and what was chosen lately.

        With ``interactions``: the spread of the strongest interaction, and how many pairs the last ``refit`` replaced.
        """
        strength = self.strength.sort(descending=True).values
        total = strength.sum()
        needed = int((strength.cumsum(0) < 0.9 * total).sum()) + 1 if float(total) > 0 else 0
        pairs = float(self.strength[self.inputs :].sum() / total) if float(total) > 0 else 0.0
        sizes = {"parts_for_90_percent": float(needed), "share_of_pairs": pairs}
        if self.couples.slots:
            spread, replaced = float(self.couples.spread.max()), float(self.couples.replaced)
            sizes |= {"strongest_interaction": spread, "pairs_replaced": replaced}
        return sizes

    def text(self) -> str:
        """Return the ranking, one part a line; then the interactions, each with its strength in the model."""
        lines = [f"{strength:.4g}  {name}" for name, strength in self.ranking()]
        ranked = self.ranked_interactions()
        if ranked:
            lines += ["", "interactions: standard deviation in logits, strength in the model"]
            lines += [f"{spread:.4g}  {measured:.4g}  {name}" for name, spread, measured in ranked]
        return "".join(f"{line}\n" for line in lines)

    @torch.no_grad()
    def figure(self) -> "Figure":
        """Draw what the strongest features say for each class over their range, then the strongest interactions.

        Axes are in the columns' own units.
        """
        chosen = self.strength[: self.inputs].argsort(descending=True, stable=True)[:DRAWN].tolist()
        values, places = self._over_range(POINTS), self._over_range(SQUARES)
        curves = self._centred(self.parts(values)).cpu()
        drawn = [
            Curve(self.reading.name(feature), self._in_unit(feature, values), curves[:, feature]) for feature in chosen
        ]
        own, maps = self.couples.own(places).cpu(), []
        for slot in self.couples.ranked()[:DRAWN_PAIRS]:
            pair = self.couples.features[slot].tolist()
            first, second = (self._in_unit(feature, places) for feature in pair)
            names = self.reading.name(pair[0]), self.reading.name(pair[1])
            maps.append(HeatMap(names, first, second, own[:, :, slot]))
        return as_figure(drawn, maps, self.class_names)

    def _in_unit(self, column: int, values: Tensor) -> Tensor:
        return self.reading.to_unit(column, values[:, column].cpu())

    def _over_range(self, points: int) -> Tensor:
        """Values of every feature, evenly over what was seen of it: (points, features)."""
        along = torch.linspace(0, 1, points, device=self.lowest.device)[:, None]
        return torch.where(self.lowest.isfinite(), self.lowest + along * (self.highest - self.lowest), 2 * along - 1)
