"""Shapley values by regression on coalitions that a whole batch shares."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdlab.explainers.baseline import as_baseline
from kdlab.explainers.exact_shapley import all_coalitions, coalition_values
from kdlab.explainers.players import Features, Players, draw_coalitions, kernel_sizes, spread


class KernelShap:
    """Estimate of the Shapley values of the explained class's logit, by constrained least squares.

    ``min over phi of sum_S w(S) (v(S) - v(none) - sum of phi in S)^2`` with ``sum phi = v(all) - v(none)`` held
    exactly; Lundberg & Lee 2017, theorem 2, https://arxiv.org/abs/1705.07874. Coalitions are drawn from the kernel
    in complementary pairs (Covert & Lee 2021, https://arxiv.org/abs/2012.01536), once for the whole batch and from
    ``seed``, so that the solution is one matrix product and a sample's attribution is the same alone and in any
    batch. If all coalitions are no more than ``draws``, they are all used and the values are exact.

    Args:
        model: A classifier with logits (batch, classes).
        draws: Coalitions, besides none and all, >= 2.
        baseline: What stands for absence: a number, or values of one input.
        players: Who plays; None: every value.
        seed: Of the coalitions.
        rows: Inputs that go through the model at once, >= 1.

    Raises:
        ValueError: If draws or rows is out of range.
    """

    multiplies_by_inputs: bool = True
    differentiable: bool = True

    def __init__(
        self,
        model: nn.Module,
        draws: int = 512,
        baseline: float | Sequence[float] | Tensor = 0.0,
        players: Players | None = None,
        seed: int = 0,
        rows: int = 4096,
    ) -> None:
        if draws < 2 or rows < 1:
            raise ValueError(f"need draws >= 2 and rows >= 1, got {draws} and {rows}")
        self.model, self.draws, self.baseline, self.seed, self.rows = model, draws, baseline, seed, rows
        self.players = players or Features()

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return Shapley values in the inputs' shape; ``target`` (batch,) is the class explained, None the top one."""
        assignment = self.players.assignment(inputs.shape[1:]).to(inputs.device)
        count = int(assignment.max()) + 1
        coalitions, weights = self._coalitions(count)
        ends = torch.tensor([[False], [True]]).expand(2, count)
        values = coalition_values(
            self.model,
            inputs,
            target,
            as_baseline(self.baseline, inputs),
            torch.cat([ends, coalitions]).to(inputs.device),
            assignment,
            self.rows,
        )
        return spread(values @ regression_matrix(coalitions, weights).to(values).T, assignment)

    def _coalitions(self, players: int) -> tuple[Tensor, Tensor]:
        """Return coalitions without the empty and the full one, and their weights."""
        if players < 2:
            return torch.zeros(0, players, dtype=torch.bool), torch.zeros(0, dtype=torch.float64)
        if players < 30 and 2**players - 2 <= self.draws:
            inner = all_coalitions(players)[1:-1]
            size = inner.sum(dim=1)
            many = torch.bincount(size, minlength=players)[1:]
            return inner, (kernel_sizes(players) / many)[size - 1]
        generator = torch.Generator().manual_seed(self.seed)
        drawn = draw_coalitions(self.draws, players, torch.device("cpu"), generator)
        return drawn, torch.full((len(drawn),), 1 / len(drawn), dtype=torch.float64)


def regression_matrix(coalitions: Tensor, weights: Tensor) -> Tensor:
    """Return the matrix (players, 2 + coalitions), float64, from values of none, all and coalitions to the solution.

    With ``A = sum w z z'`` and ``b = sum w z (v - v(none))`` the solution under ``sum phi = total`` is ``A^-1 (b - 1
    (1' A^-1 b - total) / (1' A^-1 1))``; it is linear in the values, so it is the same for every sample.
    """
    members = coalitions.double()
    players = members.shape[1]
    if players == 1:
        return torch.tensor([[-1.0, 1.0]], dtype=torch.float64)
    weighted = members.T * weights
    # Fewer coalitions than players leave directions open; the pseudo-inverse takes the smallest values there.
    inverse = torch.linalg.pinv(weighted @ members, hermitian=True)
    ones = torch.ones(players, 1, dtype=torch.float64)
    share = inverse @ ones / (ones.T @ inverse @ ones)
    free = (torch.eye(players, dtype=torch.float64) - share @ ones.T) @ inverse @ weighted
    none = -free.sum(dim=1, keepdim=True) - share
    return torch.cat([none, share, free], dim=1)
