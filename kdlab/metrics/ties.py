"""Ties: what a set of top features holds when some are equal, as an expected value over all orders of the equal ones.

ReLU networks give exact zeros, trees and coarse maps give blocks of equal values. Who sorts them by position invents
agreement, so nothing here depends on the order in which features are stored.
"""

from typing import NamedTuple

import torch
from torch import Tensor


def places(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each value of (batch, n) how many of its row are larger, and how many equal it, itself included."""
    ordered, values = values.sort(dim=1).values, values.contiguous()
    below = torch.searchsorted(ordered, values)
    not_above = torch.searchsorted(ordered, values, right=True)
    return values.shape[1] - not_above, not_above - below


class Top(NamedTuple):
    """The top features of each sample of a batch.

    Attributes:
        sure: (batch, features) bool, who is among the top in every order of equal values.
        tied: (batch, features) bool, who is among the top in some orders.
        drawn: (batch,), how many of the tied ones are among the top.
    """

    sure: Tensor
    tied: Tensor
    drawn: Tensor

    def chance(self) -> Tensor:
        """Return the share of orders in which a feature is among the top: (batch, features), float64."""
        among = self.drawn / self.tied.sum(dim=1).clamp(min=1)
        return self.sure.double() + self.tied.double() * among.unsqueeze(1)


def top_of(relevance: Tensor, counts: Tensor) -> Top:
    """Return the ``counts`` (batch,) most relevant features of (batch, features); only what is above 0 can be one.

    Where fewer are above 0, the top is those.
    """
    counts = torch.minimum(counts, (relevance > 0).sum(dim=1))
    before, equal = places(relevance)
    limit = counts.unsqueeze(1)
    sure = before + equal <= limit
    tied = (before < limit) & ~sure
    return Top(sure, tied, counts - sure.sum(dim=1))


def expected_iou(first: Top, second: Top) -> Tensor:
    """Return the expected ``|A and B| / |A or B|`` over all orders of equal values, of each set its own: (batch,).

    A ratio is not linear, so the chances of members do not give it. With a tied features of A of which r are drawn, m
    of these a sure in B and s tied in B, and with b tied features of B of which q are drawn, n of these sure in A, the
    overlap is ``c + x + h``, c the features that are sure in both, and

        ``P(x, u) = C(m, x) C(s, u) C(a - m - s, r - x - u) / C(a, r)``          x of A's drawn are sure, u tied in B
        ``P(h | u) = C(n + u, h) C(b - n - u, q - h) / C(b, q)``                 h of B's drawn are in A

    so that the value is ``sum_{x, u, h} P(x, u) P(h | u) (c + x + h) / (|A| + |B| - c - x - h)``.
    """
    certain = (first.sure & second.sure).sum(dim=1)
    sizes = first.sure.sum(dim=1) + first.drawn + second.sure.sum(dim=1) + second.drawn
    values = certain.double() / (sizes - certain)
    uncertain = (first.drawn > 0) | (second.drawn > 0)
    for row in uncertain.nonzero().flatten().tolist():
        top, other = (Top(part.sure[row], part.tied[row], part.drawn[row]) for part in (first, second))
        values[row] = _expected_iou_of_one(top, other, int(certain[row]), int(sizes[row]))
    return values


def _expected_iou_of_one(first: Top, second: Top, certain: int, sizes: int) -> float:
    tied, other_tied = int(first.tied.sum()), int(second.tied.sum())
    drawn, other_drawn = int(first.drawn), int(second.drawn)
    sure_in_second = int((first.tied & second.sure).sum())
    tied_in_both = int((first.tied & second.tied).sum())
    sure_in_first = int((second.tied & first.sure).sum())
    sure = _likely(tied, sure_in_second, drawn)
    both = _likely(tied, tied_in_both, drawn)
    rest = tied - sure_in_second - tied_in_both
    joint = (
        _log_choose(sure_in_second, sure)[:, None]
        + _log_choose(tied_in_both, both)[None, :]
        + _log_choose(rest, drawn - sure[:, None] - both[None, :])
        - _log_choose(tied, torch.tensor(float(drawn), dtype=torch.float64))
    ).exp()
    members = sure_in_first + both  # of A, among the tied ones of B
    low, high = (_likely(other_tied, sure_in_first + int(count), other_drawn) for count in (both[0], both[-1]))
    hits = torch.arange(int(low[0]), int(high[-1]) + 1, dtype=torch.float64)
    given = (
        _log_choose(members[:, None], hits[None, :])
        + _log_choose(other_tied - members[:, None], other_drawn - hits[None, :])
        - _log_choose(other_tied, torch.tensor(float(other_drawn), dtype=torch.float64))
    ).exp()
    overlap = certain + sure[:, None] + hits[None, :]
    return float((joint @ given * overlap / (sizes - overlap)).sum())


def _likely(total: int, marked: int, drawn: int) -> Tensor:
    """How many marked ones may be among those drawn without return, but for numbers less likely than 1e-18."""
    counts = torch.arange(max(0, drawn + marked - total), min(marked, drawn) + 1, dtype=torch.float64)
    chances = _log_choose(marked, counts) + _log_choose(total - marked, drawn - counts)
    return counts[chances >= chances.max() - 41.5]


def _log_choose(total: int | Tensor, chosen: Tensor) -> Tensor:
    """The logarithm of the binomial coefficient; minus infinity where there is none."""
    whole = torch.as_tensor(total, dtype=torch.float64)
    possible = (chosen >= 0) & (chosen <= whole)
    some = torch.where(possible, chosen, 0)
    value = torch.lgamma(whole + 1) - torch.lgamma(some + 1) - torch.lgamma(whole - some + 1)
    return torch.where(possible, value, -torch.inf)
