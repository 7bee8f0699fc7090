"""A soft decision tree made hard: one class a leaf, one question a node."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear

from kdlab.data.preparation import Preparation
from kdlab.explainers.written_tree import Question, WrittenTree


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
    reading: Preparation
    class_names: Sequence[str]

    def gates(self, inputs: Tensor) -> Tensor:
        """Return what every question's sum is for inputs (batch, features): (batch, inner nodes), yes where > 0."""
        return linear(inputs, self.weight, self.bias)

    def path(self, inputs: Tensor) -> Tensor:
        """Return the nodes (batch, depth + 1) that inputs (batch, features) pass, from the root to the leaf."""
        return most_likely_path(self.gates(inputs), self.depth)

    def predict(self, inputs: Tensor) -> Tensor:
        """Return classes (batch,) of inputs (batch, features)."""
        return self.leaf_class[self.path(inputs)[:, -1] - len(self.weight)]

    def in_full(self) -> WrittenTree:
        """Return the tree with every feature of every question, in the columns' own units."""
        mean, spread = (part.flatten().double() for part in (self.reading.mean, self.reading.spread))
        questions = {}
        for node, (weight, bias) in enumerate(zip(self.weight.cpu().double(), self.bias.cpu().double(), strict=True)):
            own = weight / spread
            questions[node] = Question.of(range(len(own)), own, float((own * mean).sum() - bias), digits=9)
        return self.written(questions)

    def written(self, questions: dict[int, Question], straight: dict[int, bool] | None = None) -> WrittenTree:
        """Return the tree of these questions.

        Args:
            questions: By node.
            straight: Nodes that are not asked, because the answer is always this one.
        """
        return WrittenTree(questions, straight or {}, self.leaf_class.tolist(), self.reading, self.class_names)


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
