"""A soft decision tree made hard: one class a leaf, one question a node."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import linear

from kdlab.explainers.tree_picture import Branch, as_figure, as_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Fewer words than this a question stay readable; the rest is counted.
SHOWN = 4


@dataclass(frozen=True)
class HardTree:
    """Full binary tree of linear questions ``weight . inputs + bias > 0``; nodes are counted level by level from 0.

    Node i's answers are the nodes 2i + 1 (no) and 2i + 2 (yes). The predictions are exactly those of the soft tree's
    most likely turns, because the questions are the very gates.
    """

    weight: Tensor  # (inner nodes, features)
    bias: Tensor  # (inner nodes,)
    leaf_class: Tensor  # (leaves,)
    depth: int
    feature_names: Sequence[str]
    class_names: Sequence[str]

    def path(self, inputs: Tensor) -> Tensor:
        """Return the nodes (batch, depth + 1) that inputs (batch, features) pass, from the root to the leaf."""
        return most_likely_path(linear(inputs, self.weight, self.bias), self.depth)

    def predict(self, inputs: Tensor) -> Tensor:
        """Return classes (batch,) of inputs (batch, features)."""
        return self.leaf_class[self.path(inputs)[:, -1] - len(self.weight)]

    def branches(self, shown: int | None = SHOWN) -> Branch:
        """Return the tree without questions whose answers all lead to the same class: they change no prediction."""
        return self._branch(0, shown)

    def text(self, shown: int | None = SHOWN) -> str:
        """Return the questions as nested lines, with their strongest features; None: all, in full precision."""
        return as_text(self.branches(shown))

    def figure(self) -> "Figure":
        """Draw the questions from the top down."""
        root = self.branches()
        return as_figure(root, f"decision tree: depth {root.depth()}, {root.leaves()} leaves")

    def _branch(self, node: int, shown: int | None) -> Branch:
        inner = len(self.weight)
        if node >= inner:
            return Branch(self.class_names[int(self.leaf_class[node - inner])])
        no, yes = self._branch(2 * node + 1, shown), self._branch(2 * node + 2, shown)
        if no.is_leaf and yes.is_leaf and no.label == yes.label:
            return no
        return Branch(self._question(node, shown), no, yes)

    def _question(self, node: int, shown: int | None) -> str:
        weight, digits = self.weight[node], "+.9g" if shown is None else "+.3g"
        strongest = weight.abs().argsort(descending=True, stable=True)[:shown].tolist()
        words = " ".join(f"{float(weight[feature]):{digits}}*[{self.feature_names[feature]}]" for feature in strongest)
        rest = len(weight) - len(strongest)
        return f"{words}{f' (and {rest} weaker)' if rest else ''} > {-float(self.bias[node]):{digits.lstrip('+')}}"


def most_likely_path(gates: Tensor, depth: int) -> Tensor:
    """Return the nodes (batch, depth + 1) passed when every gate (batch, inner nodes) is answered by its sign.

    A gate of exactly 0 is answered no.
    """
    node = torch.zeros(len(gates), dtype=torch.long, device=gates.device)
    passed = [node]
    for _ in range(depth):
        yes = gates.gather(1, node[:, None])[:, 0] > 0
        node = 2 * node + 1 + yes.long()
        passed.append(node)
    return torch.stack(passed, dim=1)
