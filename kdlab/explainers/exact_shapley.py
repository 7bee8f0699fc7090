"""Shapley values by enumeration."""

from collections.abc import Sequence
from math import comb

import torch
from torch import Tensor, nn

from kdlab.explainers.base import chosen_class, class_score, explaining, pieces, watched
from kdlab.explainers.baseline import as_baseline
from kdlab.explainers.players import Features, Players, reveal, spread
from kdlab.losses.numerics import at_least_float32

MOST = 12


def all_coalitions(players: int, device: torch.device | None = None) -> Tensor:
    """Return every coalition (2^players, players) as bool; row r shows the players of r's binary digits."""
    digits = torch.arange(2**players, device=device)[:, None] >> torch.arange(players, device=device)
    return digits % 2 == 1


def shapley_matrix(players: int) -> Tensor:
    """Return the matrix (players, 2^players), float64, that turns the values of all coalitions into Shapley values.

    ``phi_i = sum over S without i of |S|! (d - |S| - 1)! / d! (v(S + i) - v(S))``, Shapley 1953.
    """
    coalitions = all_coalitions(players)
    size = coalitions.sum(dim=1)
    # With i: the weight of S = coalition without i, one smaller. Without i: minus the weight of the coalition itself.
    by_size = torch.tensor([1 / (players * comb(players - 1, k)) for k in range(players)] + [0.0], dtype=torch.float64)
    without = -by_size[size]
    joined = by_size[(size - 1).clamp_min(0)]
    return torch.where(coalitions.T, joined, without)


class ExactShapley:
    """Shapley values of the explained class's logit, by all 2^players coalitions: the ground truth of small games.

    The value of a coalition is the logit with the other players at the baseline. Their sum is ``logit_c(inputs) -
    logit_c(baseline)``. A player of several values shares its own out equally.

    Args:
        model: A classifier with logits (batch, classes).
        baseline: What stands for absence: a number, or values of one input.
        players: Who plays; None: every value. At most 12.
        rows: Inputs that go through the model at once, >= 1.

    Raises:
        ValueError: If rows is not positive.
    """

    multiplies_by_inputs: bool = True
    differentiable: bool = True

    def __init__(
        self,
        model: nn.Module,
        baseline: float | Sequence[float] | Tensor = 0.0,
        players: Players | None = None,
        rows: int = 4096,
    ) -> None:
        if rows < 1:
            raise ValueError(f"rows must be positive, got {rows}")
        self.model, self.baseline, self.rows = model, baseline, rows
        self.players = players or Features()

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return Shapley values in the inputs' shape; ``target`` (batch,) is the class explained, None the top one.

        Raises:
            ValueError: If there are more than 12 players.
        """
        assignment = self.players.assignment(inputs.shape[1:]).to(inputs.device)
        count = int(assignment.max()) + 1
        if count > MOST:
            raise ValueError(f"{count} players make 2^{count} coalitions; group them to {MOST}, or choose KernelShap")
        values = coalition_values(
            self.model,
            inputs,
            target,
            as_baseline(self.baseline, inputs),
            all_coalitions(count, inputs.device),
            assignment,
            self.rows,
        )
        return spread(values @ shapley_matrix(count).to(values).T, assignment)


def coalition_values(
    model: nn.Module,
    inputs: Tensor,
    target: Tensor | None,
    baseline: Tensor,
    coalitions: Tensor,
    assignment: Tensor,
    rows: int,
) -> Tensor:
    """Return the explained class's logit (batch, coalitions) with only each coalition (coalitions, players) shown.

    In the graph exactly when called with gradients enabled; float32 at least.
    """
    with explaining(model) as keep_graph, torch.set_grad_enabled(keep_graph):
        clean = watched(inputs, keep_graph)
        explained = chosen_class(model(clean.clone()), target)
        parts = []
        for some in pieces(coalitions, rows // max(1, len(clean))):
            logits = model(reveal(clean, baseline.clone(), some, assignment))
            parts.append(class_score(logits, explained.repeat_interleave(len(some))).reshape(len(clean), len(some)))
        return at_least_float32(torch.cat(parts, dim=1))
