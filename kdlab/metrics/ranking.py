"""What metrics over the whole split's ranking share: probabilities and labels kept until the end."""

import torch
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from kdlab.metrics.base import Unmerged
from kdlab.metrics.checks import check_columns, check_target


class Ranking(Unmerged):
    """Keeps every labelled sample's probabilities, in float64 so that confident ones do not tie at 1.

    Unlabelled samples (-1) and samples with a NaN logit are left out; the latter are counted in ``nan_count``.

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
        broken = logits.isnan().any(dim=1)
        used = (target >= 0) & ~broken
        self.probabilities.append(logits.detach()[used].to(torch.float64).softmax(dim=1))
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
