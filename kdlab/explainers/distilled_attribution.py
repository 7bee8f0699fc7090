"""A network that reproduces the teacher's attributions in one forward."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, log_softmax, one_hot

from kdlab.explainers.base import Attribution, Learned, chosen_class, explaining, flattened, predicted_class, watched
from kdlab.explainers.deployed import Deployed
from kdlab.explainers.input_gradient import InputGradient
from kdlab.explainers.networks import fully_connected


class ExplainableTeacher(Protocol):
    """A teacher whose classes can be explained; the signal ``teacher`` is one."""

    def attributions(self, inputs: Tensor, target: Tensor, explainer: Callable[[nn.Module], Attribution]) -> Tensor:
        """Return the explainer's attributions of the teacher."""
        ...


class DistilledAttribution(Learned):
    """Network with two heads: the teacher's attribution of a class, and the model's distribution.

    Teacher-grade explanations at the cost of a small forward. ``terms`` is

        ``weight * mean of (|a - t|^2 / mean |t|^2 + 1 - cos(a, t))``

    with a its attribution and t the teacher's of the class explained: the first part holds the scale, relative to
    the batch's mean so that it has no unit, the second the direction. Samples whose teacher's map is zero everywhere
    count in the first part alone. The attribution says what the teacher's method says; ``multiplies_by_inputs`` has
    to be told which.

    Args:
        model: The model explained; logits (batch, classes).
        inputs: Number of values in one flattened input.
        classes: Number of classes.
        hidden: Widths of the shared hidden layers, at least one.
        weight: Of the term, >= 0.
        teacher_explainer: The method that explains the teacher, if ``teacher_attributions`` are not at hand.
        multiplies_by_inputs: Whether the teacher's attributions are contributions and not slopes.

    Raises:
        ValueError: If a size or the weight is out of range.
    """

    differentiable: bool = True

    def __init__(
        self,
        model: nn.Module,
        inputs: int,
        classes: int,
        hidden: Sequence[int] = (128, 128),
        weight: float = 1.0,
        teacher_explainer: Callable[[nn.Module], Attribution] = InputGradient,
        multiplies_by_inputs: bool = False,
    ) -> None:
        super().__init__(model)
        if not hidden or weight < 0:
            raise ValueError(f"need at least one hidden layer and weight >= 0, got {list(hidden)} and {weight}")
        self.inputs, self.classes, self.weight = inputs, classes, weight
        self.teacher_explainer = teacher_explainer
        self.multiplies_by_inputs = multiplies_by_inputs
        self.trunk = nn.Sequential(fully_connected(inputs, hidden[:-1], hidden[-1]), nn.GELU())
        self.prediction = nn.Linear(hidden[-1], classes)
        self.map = fully_connected(hidden[-1] + classes, hidden[-1:], inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the predicted log-probabilities (batch, classes) of the model."""
        return log_softmax(self.prediction(self.trunk(flattened(inputs, self.inputs))), dim=1)

    def terms(
        self, inputs: Tensor, explained: Tensor, teacher: ExplainableTeacher, teacher_attributions: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the distance from the teacher's attributions of the class explained.

        Raises:
            ValueError: If they do not have the inputs' shape.
        """
        if teacher_attributions is None:
            teacher_attributions = teacher.attributions(inputs, explained, self.teacher_explainer)
        if teacher_attributions.shape != inputs.shape:
            shapes = f"{tuple(teacher_attributions.shape)} and {tuple(inputs.shape)}"
            raise ValueError(f"teacher_attributions and inputs must have one shape, got {shapes}")
        ours, theirs = self._map(inputs, explained).float(), teacher_attributions.detach().flatten(1).float()
        size = theirs.square().sum(dim=1)
        # A batch of dead maps has no size to compare with.
        relative = (ours - theirs).square().sum(dim=1) / torch.where(size.mean() > 0, size.mean(), 1.0)
        direction = torch.where(size > 0, 1 - cosine_similarity(ours, theirs, dim=1), 0.0)
        return {"teacher_attributions": self.weight * (relative + direction).mean()}

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return attributions in the inputs' shape; ``target`` (batch,) is the class explained, None the top one."""
        explained = predicted_class(self.model, inputs) if target is None else target
        with explaining(self) as keep_graph, torch.set_grad_enabled(keep_graph):
            clean = watched(inputs, keep_graph)
            explained = chosen_class(self.prediction.bias.expand(len(inputs), -1), explained)
            return self._map(clean, explained).reshape(inputs.shape)

    def deployed(self) -> nn.Module:
        """Return attributions of a class already predicted, as a module."""
        return Deployed(self, self._explain)

    def _explain(self, inputs: Tensor, logits: Tensor, explained: Tensor) -> Tensor:
        return self._map(inputs, explained).reshape(inputs.shape)

    def _map(self, inputs: Tensor, explained: Tensor) -> Tensor:
        hidden = self.trunk(flattened(inputs, self.inputs))
        maps: Tensor = self.map(torch.cat([hidden, one_hot(explained, self.classes).to(hidden)], dim=1))
        return maps
