"""A term of the distillation loss: a loss, its weight, and where its tensors come from."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from kdlab.explainers.base import Attribution


@dataclass
class Term:
    """One term ``weight * loss(...)`` of ``L_t``.

    Args:
        loss: any module whose ``forward`` names the signals it needs and returns a scalar.
        weight: w_k, relative to its sisters; alpha scales them all. No unit, >= 0.
        takes: renames, ``{parameter: signal}``: ``{input: logits, target: teacher_logits}`` makes ``torch.nn.MSELoss``
            a distillation loss.
        layers: pairs ``{path in the student: path in the teacher}`` whose tensors become ``features`` and
            ``teacher_features``, in this order. A path is a module's name, with ``:input`` or ``:weights`` behind it
            for what goes in or for attention weights.
        explainer: what makes ``attributions`` of the student, a callable from the model; it must be differentiable.
        teacher_explainer: the same for the teacher; the student's if left out.
        every_n_steps: the term counts on each n-th optimiser step only, >= 1.

    Raises:
        ValueError: If the weight is negative or every_n_steps is below 1.
    """

    loss: nn.Module
    weight: float = 1.0
    takes: dict[str, str] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=dict)
    explainer: Callable[[nn.Module], Attribution] | None = None
    teacher_explainer: Callable[[nn.Module], Attribution] | None = None
    every_n_steps: int = 1

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"weight must not be negative, got {self.weight}")
        if self.every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {self.every_n_steps}")
