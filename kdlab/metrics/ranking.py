"""What metrics over the whole split's ranking share: probabilities and labels kept until the end."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from kdlab.metrics.base import Unmerged
from kdlab.metrics.checks import check_columns, check_target

#: Scores that are sorted at once, so that thousands of classes do not need many times the memory of their scores.
AT_ONCE = 2**22


def one_against_rest(probabilities: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield scores and hits, both (some classes, samples), until every class had its turn.

    Args:
        probabilities: (samples, classes).
        labels: (samples,).
    """
    count, step = probabilities.shape[1], max(1, AT_ONCE // max(1, len(labels)))
    classes = torch.arange(count, device=labels.device)[:, None]
    for start in range(0, count, step):
        some = slice(start, start + step)
        yield probabilities[:, some].T.contiguous(), labels == classes[some]


def first_of_equals(ordered: Tensor) -> Tensor:
    """Return for each value of (rows, n), each row sorted, the place of the first that equals it: (rows, n)."""
    places = torch.arange(ordered.shape[1], device=ordered.device).expand_as(ordered)
    begins = torch.ones_like(ordered, dtype=torch.bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return torch.where(begins, places, 0).cummax(dim=1).values


class Ranking(Unmerged):
    """Keeps every labelled sample's probabilities, in float64 so that confident ones do not tie at 1.

    Unlabelled samples (-1) and samples whose logits give no probabilities (one is NaN or infinitely large) are left
    out; the latter are counted in ``nan_count``.

    Args:
        classes: How many there are, >= 2.

    Raises:
        ValueError: If there are fewer than two classes.
    """

    higher_is_better = True

    probabilities: list[Tensor]
    labels: list[Tensor]
    nan_count: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes must be 2 or more, got {classes}")
        self.classes = classes
        self.add_state("probabilities", default=[], dist_reduce_fx="cat")
        self.add_state("labels", default=[], dist_reduce_fx="cat")
        self.add_state("nan_count", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Take in logits (batch, classes) and targets (batch,).

        Raises:
            ValueError: If the shapes do not fit, or a target is no class.
        """
        check_columns(logits, self.classes)
        check_target(target, logits)
        probabilities = logits.detach().to(torch.float64).softmax(dim=1)
        broken = probabilities.isnan().any(dim=1)
        used = (target >= 0) & ~broken
        self.probabilities.append(probabilities[used])
        self.labels.append(target[used])
        self.nan_count = self.nan_count + ((target >= 0) & broken).sum()

    def collected(self) -> tuple[Tensor, Tensor, bool]:
        """Return probabilities (samples, classes), labels (samples,), and whether every class has a labelled sample."""
        # One list of batches in one process; after the exchange between processes one tensor.
        if isinstance(self.labels, list) and not self.labels:
            return torch.empty(0, self.classes), torch.empty(0, dtype=torch.int64), False
        probabilities, labels = dim_zero_cat(self.probabilities), dim_zero_cat(self.labels)
        complete = bool((torch.bincount(labels, minlength=self.classes) > 0).all())
        return probabilities, labels, complete
