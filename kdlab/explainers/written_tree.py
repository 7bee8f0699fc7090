"""A tree of linear questions as it is written: in the columns' own units, with the very numbers that are printed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import torch
from torch import Tensor

from kdlab.data.preparation import Preparation
from kdlab.explainers.tree_picture import Branch


@dataclass(frozen=True)
class Question:
    """``sum of weight * value > bound``, all numbers rounded as they are printed."""

    columns: tuple[int, ...]
    weights: tuple[float, ...]
    bound: float

    @classmethod
    def of(cls, columns: Iterable[int], weights: Tensor, bound: float, digits: int, spread: float = 0.0) -> "Question":
        """Return the question with its weights rounded to so many digits, and the bound to what that leaves of them.

        A question of one column is put as a bound of the column itself.

        Args:
            columns: Numbers of the values in the flattened input.
            weights: Theirs, (columns,), in the columns' own units.
            bound: What the sum has to exceed.
            digits: That count of each weight, and of the spread in the bound.
            spread: Of the sums that are compared; the bound is rounded to the last of its digits, which may be finer
                than the bound's own. 0: to its own.
        """
        chosen = tuple(columns)
        if len(chosen) == 1 and float(weights[0]) != 0:
            size = abs(float(weights[0]))
            weights, bound, spread = weights / size, bound / size, spread / size
        finest = _rounded(spread, digits)[1] if spread else _rounded(bound, digits)[1]
        return cls(chosen, tuple(_rounded(float(weight), digits)[0] for weight in weights), round(bound, finest))

    def answers(self, values: Tensor) -> Tensor:
        """Return whether the answer is yes, bool (batch,), for values (batch, features) float64 in their own units."""
        weights = values.new_tensor(self.weights)
        return (values[:, list(self.columns)] * weights).sum(dim=1) > self.bound

    def asks_category(self, reading: Preparation) -> bool:
        """Return whether all that is asked is if a category holds; a negative weight asks for the opposite."""
        if len(self.columns) != 1 or not reading.is_level(self.columns[0]):
            return False
        weight = self.weights[0]
        return min(0.0, weight) <= self.bound < max(0.0, weight)

    def text(self, reading: Preparation) -> str:
        """Return the question as a line of text."""
        names = [reading.name(column) for column in self.columns]
        if self.asks_category(reading):
            return names[0]
        if len(names) == 1 and abs(self.weights[0]) == 1:
            above = self.weights[0] > 0
            return f"{names[0]} {'>' if above else '<'} {number(self.bound if above else -self.bound)}"
        words = (
            f"{'' if weight < 0 else '+'}{number(weight)}*[{name}]"
            for weight, name in zip(self.weights, names, strict=True)
        )
        return f"{' '.join(words)} > {number(self.bound)}"


@dataclass(frozen=True)
class WrittenTree:
    """Full binary tree of questions, numbered level by level from 0: node i leads to 2i + 1 (no) and 2i + 2 (yes).

    Args:
        questions: By node.
        straight: Nodes that are not asked, and the answer that is taken there.
        leaf_class: Class of each leaf.
        reading: Names of the columns.
        class_names: Of the classes.
    """

    questions: Mapping[int, Question]
    straight: Mapping[int, bool]
    leaf_class: Sequence[int]
    reading: Preparation
    class_names: Sequence[str]

    def predict(self, values: Tensor) -> Tensor:
        """Return the class (batch,) to which values (batch, features), in the columns' own units, are led."""
        values, inner = values.double(), len(self.leaf_class) - 1
        node = torch.zeros(len(values), dtype=torch.long, device=values.device)
        for here in range(inner):
            # Nodes are numbered from the top, so that all who come here have arrived.
            rows = (node == here).nonzero().flatten()
            yes = self.straight[here] if here in self.straight else self.questions[here].answers(values[rows]).long()
            node[rows] = 2 * here + 1 + yes
        return torch.tensor(self.leaf_class, device=values.device)[node - inner]

    def branches(self) -> Branch:
        """Return the tree without questions whose answers all lead to the same class: they change no prediction."""
        return self._branch(0)

    def _branch(self, node: int) -> Branch:
        inner = len(self.leaf_class) - 1
        if node >= inner:
            return Branch(self.class_names[self.leaf_class[node - inner]])
        if node in self.straight:
            return self._branch(2 * node + 1 + self.straight[node])
        no, yes = self._branch(2 * node + 1), self._branch(2 * node + 2)
        if no.is_leaf and yes.is_leaf and no.label == yes.label:
            return no
        question = self.questions[node]
        if question.asks_category(self.reading) and question.weights[0] < 0:
            no, yes = yes, no
        return Branch(question.text(self.reading), no, yes)


def number(value: float) -> str:
    """Return a number as it is printed: the shortest text that is read as the same, without an exponent."""
    text = f"{Decimal(repr(value)):f}"
    return text.rstrip("0").removesuffix(".") if "." in text else text


def _rounded(value: float, digits: int) -> tuple[float, int]:
    """Return the number with so many digits that count, and how many of them stand behind the point."""
    if value == 0:
        return 0.0, 0
    behind = digits - 1 - int(f"{value:e}".partition("e")[2])
    return round(value, behind), behind
