"""What metrics with one score a sample share: sums that are right over uneven batches and processes."""

from itertools import count

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

_NUMBERS = count()


class Unmerged(Metric):
    """A metric that a ``MetricCollection`` never takes for another.

    A collection updates only one of two metrics whose states are equal after the first batch. Accuracy and agreement
    with a teacher that makes no mistake there are: from then on one of them would repeat the other. A state that is a
    number of the object's own prevents it.
    """

    is_differentiable = False
    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        # Powers of two, because the states are compared with a tolerance.
        number = torch.tensor(2.0 ** (next(_NUMBERS) % 1000), dtype=torch.float64)
        self.add_state("number", default=number, dist_reduce_fx="max")


class PerSample(Unmerged):
    """Mean of one score a sample, over all batches and processes.

    A subclass names the tensors it needs in ``update`` and hands the scores to ``add``. A score that cannot be computed
    is NaN: it stays out of the mean and is counted in ``nan_count``, so that a mean over a few samples is never taken
    for one over all.

    Attributes:
        sum: Sum of the scores that are numbers, float64, summed over processes.
        count: How many they are.
        nan_count: How many samples should have a score and have none.
        latest: Scores of the last ``update``, shape (batch,), in the batch's order; NaN where there is none.
    """

    sum: Tensor
    count: Tensor
    nan_count: Tensor
    latest: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sum", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("nan_count", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.latest = torch.empty(0)

    def add(self, scores: Tensor, applies: Tensor | None = None) -> None:
        """Take in the scores of one batch.

        Args:
            scores: (batch,), NaN where there is no score.
            applies: (batch,) bool, False for samples that the metric does not speak about (no label, say). They get NaN
                in ``latest`` and are counted nowhere. By default all apply.

        Raises:
            ValueError: If the scores are not one a sample, or ``applies`` has another shape.
        """
        if scores.dim() != 1:
            raise ValueError(f"scores must be one a sample, shape (batch,), got {tuple(scores.shape)}")
        values = scores.detach().to(torch.float64)
        if applies is None:
            applies = torch.ones_like(values, dtype=torch.bool)
        elif applies.shape != values.shape:
            raise ValueError(f"applies has shape {tuple(applies.shape)}, scores have {tuple(values.shape)}")
        defined = applies & ~values.isnan()
        # Not in place: a state made under inference_mode could not be updated outside of it.
        self.sum = self.sum + torch.where(defined, values, 0.0).sum()
        self.count = self.count + defined.sum()
        self.nan_count = self.nan_count + (applies & ~defined).sum()
        self.latest = scores.detach().masked_fill(~applies, torch.nan)

    def compute(self) -> Tensor:
        """Return the mean of the scores that are numbers; NaN if there is none."""
        return self.mean()

    def mean(self) -> Tensor:
        """Return the mean of the scores that are numbers; NaN if there is none."""
        return (self.sum / self.count).to(torch.float32)


class MedianPerSample(PerSample):
    """Median of one score a sample, for scores with a tail that a mean would speak of alone.

    Of an even number the mean of the two in the middle. ``mean`` says what ``PerSample`` would; ``Evaluate`` logs it
    beside the median, as ``<name>_mean``.

    Attributes:
        kept: The scores that are numbers, float64, of all processes.
    """

    kept: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("kept", default=[], dist_reduce_fx="cat")

    def add(self, scores: Tensor, applies: Tensor | None = None) -> None:
        """Take in the scores of one batch, as ``PerSample`` does."""
        super().add(scores, applies)
        self.kept.append(self.latest[~self.latest.isnan()].to(torch.float64))

    def compute(self) -> Tensor:
        """Return the median of the scores that are numbers; NaN if there is none."""
        # One list of batches in one process; after the exchange between processes one tensor.
        if isinstance(self.kept, list) and not self.kept:
            return torch.tensor(torch.nan)
        ordered = dim_zero_cat(self.kept).sort().values
        middle = ordered[(len(ordered) - 1) // 2 : len(ordered) // 2 + 1]
        return middle.mean().to(torch.float32)
