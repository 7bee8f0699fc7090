"""Insertion: how fast does the score rise when the most relevant features come."""

from torch import Tensor

from kdlab.metrics.removal import Removal, area
from kdlab.metrics.scorer import Model


class InsertionAUC(Removal):
    """Area under the score while features come from the baseline, the most relevant first: [0, 1], higher is better.

    ``(f(x_0) / 2 + f(x_1) + ... + f(x_K) / 2) / K``, f the probability of the explained class, x_0 the baseline, x_K
    the input; with ``on_logits`` the logit, without bounds. Order and NaN as for ``DeletionAUC``. Petsiuk et al. 2018
    (RISE), "evaluation metrics", https://arxiv.org/abs/1806.07421. See ``Removal`` for the arguments.
    """

    higher_is_better = True

    def update(
        self,
        model: Model,
        inputs: Tensor,
        attributions: Tensor,
        explained: Tensor,
        baseline: Tensor,
        multiplies_by_inputs: bool = True,
    ) -> None:
        """Take in inputs (batch, ...), attributions of that shape, explained (batch,), baseline of one input's shape.

        ``multiplies_by_inputs`` says whether attributions are contributions as they stand, or slopes.

        Raises:
            ValueError: If shapes do not fit, or the explained class is none of the model's.
        """
        self.add(area(self.curve(model, inputs, attributions, explained, baseline, multiplies_by_inputs, insert=True)))
