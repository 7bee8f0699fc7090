"""Many small nets at once: one a feature, one a pair of features."""

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from kdlab.explainers.interactions import assigned, grid, pure


class GroupedNet(nn.Module):
    """Many small nets of one size as three batched products: (batch, nets, inputs) to (batch, nets, outputs)."""

    def __init__(self, nets: int, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        sizes = [(inputs, hidden), (hidden, hidden), (hidden, outputs)]
        self.weights = nn.ParameterList(torch.randn(nets, *size) / size[0] ** 0.5 for size in sizes)
        # Bends spread over the inputs' usual range, or all nets would start out alike around 0.
        bends = 4 * torch.rand(nets, hidden) - 2
        self.biases = nn.ParameterList([bends, torch.zeros(nets, hidden), torch.zeros(nets, outputs)])

    def forward(self, values: Tensor) -> Tensor:
        """Return each net's outputs."""
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = torch.einsum("bni,nio->bno", gelu(values) if layer else values, weight) + bias
        return values


class PairNets(GroupedNet):
    """One small net a pair of features: pairs given by hand, then slots for pairs that are chosen later.

    Args:
        pairs: Those given, as features (pairs, 2).
        slots: How many are chosen; a slot without a pair says 0.
        hidden: Width of the two hidden layers.
        classes: Number of outputs.

    Attributes:
        features: (pairs, 2), -1 for a slot without a pair.
        spread: (pairs,), standard deviation of the pair's own interaction in its part when last measured, in logits.
        strength: (pairs,), how the pair interacts in the model, in logits; NaN where unknown.
        replaced: How many slots got another pair at the last choice; NaN before the first.
    """

    features: Tensor
    spread: Tensor
    strength: Tensor
    replaced: Tensor

    def __init__(self, pairs: Tensor, slots: int, hidden: int, classes: int) -> None:
        super().__init__(len(pairs) + slots, 2, hidden, classes)
        self.slots, self.given = slots, len(pairs)
        # What the data say is saved; what the arguments say is not.
        saved, count = slots > 0, len(pairs) + slots
        self.register_buffer("features", torch.cat([pairs, pairs.new_full((slots, 2), -1)]), persistent=saved)
        self.register_buffer("spread", torch.zeros(count), persistent=saved)
        self.register_buffer("strength", torch.full((count,), torch.nan), persistent=saved)
        self.register_buffer("replaced", torch.tensor(torch.nan), persistent=saved)

    @property
    def held(self) -> Tensor:
        """Which pairs are nets of a pair: (pairs,) bool."""
        return self.features[:, 0] >= 0

    def sides(self) -> tuple[Tensor, Tensor]:
        """The first and the second feature of each pair, 0 for a slot without a pair."""
        first, second = self.features.clamp_min(0).unbind(dim=1)
        return first, second

    def forward(self, flat: Tensor) -> Tensor:
        """Return what each pair says about inputs (batch, features): (batch, pairs, classes)."""
        first, second = self.sides()
        return self._said(torch.stack([flat[:, first], flat[:, second]], dim=2))

    def own(self, values: Tensor) -> Tensor:
        """Return the pairs' own interactions, centred over classes, on the grid of values (points, features).

        (points, points, pairs, classes), the first feature's value by the first axis.
        """
        first, second = self.sides()
        interactions = pure(self._said(grid(values[:, first], values[:, second])))
        return interactions - interactions.mean(dim=3, keepdim=True)

    def _said(self, values: Tensor) -> Tensor:
        said = super().forward(values)
        return torch.where(self.held[:, None], said, 0.0) if self.slots else said

    @torch.no_grad()
    def choose(self, ranked: Tensor, strength: Tensor) -> Tensor:
        """Give the slots their pairs; one with another pair than before starts silent.

        Args:
            ranked: (ranked, 2), all pairs that may be chosen, the strongest first, the smaller number first in each.
            strength: (ranked,), how they interact in the model.

        Returns:
            Which pairs are others than before: (pairs,) bool.
        """
        of_pair = {frozenset(pair): value for pair, value in zip(ranked.tolist(), strength.tolist(), strict=True)}
        by_hand = {frozenset(pair) for pair in self.features[: self.given].tolist()}
        free = torch.tensor([frozenset(pair) not in by_hand for pair in ranked.tolist()], dtype=torch.bool)
        before = self.features.clone()
        self.features[self.given :] = assigned(before[self.given :], ranked.cpu()[free].to(before))
        other = (self.features != before).any(dim=1)
        # Its hidden layers stay, so that it draws nothing; the optimiser's memory of the old pair fades in some steps.
        for last in (self.weights[-1], self.biases[-1]):
            last[other] = 0.0
        self.replaced = other.sum().to(self.replaced)
        strengths = [of_pair.get(frozenset(pair), torch.nan) for pair in self.features.tolist()]
        self.strength = torch.tensor(strengths).to(self.strength)
        return other

    @torch.no_grad()
    def measure(self, values: Tensor) -> None:
        """Take the spread of each pair's own interaction over all combinations of values (points, features)."""
        self.spread = self.own(values).square().mean(dim=(0, 1, 3)).sqrt()

    def ranked(self) -> list[int]:
        """Return the pairs by their spread, the widest first; none before the first choice."""
        order = self.spread.argsort(descending=True, stable=True)
        return order[self.held[order]].tolist() if bool(self.replaced.isfinite()) else []
