"""Refitting: no more of the training set goes through the model at once than a batch."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from kdlab.explainers.additive_network import AdditiveNetwork
from kdlab.explainers.base import Learned, Refits
from kdlab.explainers.interactions import ROWS
from kdlab.explainers.rule_tree import RuleTree
from kdlab.explainers.tree_regularisation import TreeRegularisation


class Counting(nn.Module):
    """Notes how many samples it sees at once."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.seen: list[int] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen.append(len(inputs))
        logits: Tensor = self.layer(inputs).sin()
        return logits


@pytest.mark.parametrize("make", [RuleTree, lambda *sizes: TreeRegularisation(*sizes, copies=2)])
def test_trees_ask_the_model_a_batch_at_a_time(make: Callable[..., RuleTree]) -> None:
    model, inputs = Counting(), torch.randn(350, 6)
    tree = make(model, 6, 3)
    tree.refit([{"inputs": part} for part in inputs.split(40)])
    assert sum(model.seen) >= 2 * 350
    assert max(model.seen) == 40
    # In pieces or in one, the same is measured.
    pieces = tree.describe()
    tree.refit([{"inputs": inputs}])
    assert max(model.seen) == 350
    assert tree.describe()["agreement_perturbed"] == pieces["agreement_perturbed"]
    assert tree.describe()["mean_path_length"] == pieces["mean_path_length"]


def test_pairs_are_ranked_in_chunks() -> None:
    model = Counting()
    AdditiveNetwork(model, 6, 3, hidden=4, interactions=2).refit([{"inputs": torch.randn(300, 6)}])
    # The rows of pairs are cut by the bytes that they make, whatever their number; whole samples are not.
    assert model.seen[:5] == [ROWS, ROWS, ROWS, ROWS, 1]


def test_every_kind_that_is_refitted_is_tried_here() -> None:
    def below(kind: type[Learned]) -> set[type[Learned]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    ours = {kind for kind in below(Learned) if kind.__module__.startswith("kdlab.") and issubclass(kind, Refits)}
    assert ours == {RuleTree, TreeRegularisation, AdditiveNetwork}
