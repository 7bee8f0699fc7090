"""Deletion: how fast does the score fall when the most relevant features go."""

from torch import Tensor

from kdlab.metrics.removal import Removal, area
from kdlab.metrics.scorer import Model


class DeletionAUC(Removal):
    """Area under the score while features go to the baseline, the most relevant first: [0, 1], lower is better.

    ``(f(x_0) / 2 + f(x_1) + ... + f(x_K) / 2) / K``, f the probability of the explained class, x_0 the input, x_K the
    baseline; with ``on_logits`` the logit, without bounds. Features go by signed contribution, a slope multiplied by
    the input's distance to the baseline; equal ones (ReLU nets have many zeros) go evenly: see ``Removal``. NaN where
    the attribution gives no order. Petsiuk et al. 2018 (RISE), "evaluation metrics", https://arxiv.org/abs/1806.07421.
    See ``Removal`` for the arguments.
    """

    higher_is_better = False

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
        self.add(area(self.curve(model, inputs, attributions, explained, baseline, multiplies_by_inputs)))
