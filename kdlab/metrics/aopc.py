"""Area over the perturbation curve."""

from torch import Tensor

from kdlab.metrics.removal import Removal
from kdlab.metrics.scorer import Model


def drop(curve: Tensor) -> Tensor:
    """Return ``1 / (K + 1) sum_{k=0..K} f(x_0) - f(x_k)`` of each row of (batch, K + 1): (batch,)."""
    return (curve[:, :1] - curve).mean(dim=1)


class AOPC(Removal):
    """Mean drop of the score while features go to the baseline, the most relevant first: [-1, 1], higher is better.

    ``1 / (K + 1) sum_{k=0..K} f(x_0) - f(x_k)``, f the probability of the explained class; with ``on_logits`` the
    logit, without bounds. Regions of an image go as one with ``patch``, ordered by the sum of their attributions. NaN
    where the attribution gives no order. Samek et al. 2017, "area over the MoRF perturbation curve",
    https://arxiv.org/abs/1509.06321. See ``Removal`` for the arguments.
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
        self.add(drop(self.curve(model, inputs, attributions, explained, baseline, multiplies_by_inputs)))
