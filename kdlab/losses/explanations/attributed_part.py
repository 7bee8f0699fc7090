"""Explanations that name what the prediction rests on: enough of it, and nothing that it can do without."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.explanations.part import check_share, evaluating, mixed, soft_part
from kdlab.losses.numerics import at_least_float32, check_alike
from kdlab.signals.outputs import logits_of


class SufficientPart(nn.Module):
    """Divergence of the prediction on the attributed part from that on the whole: nats, lower is better, minimum 0.

    ``mean_b KL(softmax(logits) || softmax(model(x * m + baseline * (1 - m))))``, where m softly marks the ``share``
    of elements with the strongest attributions (see ``part.soft_part``) and no gradient passes through ``logits``.
    Sufficiency of DeYoung et al. 2020, equation 2, https://arxiv.org/abs/1911.03429, as a divergence and
    differentiable. With ``takes: {logits: teacher_logits, attributions: teacher_attributions}`` the student learns to
    predict as its teacher from what the teacher says is enough. The model is called in eval mode.

    Args:
        share: Of the elements, in (0, 1).
        sharpness: Of the mark's edge, in units of the mean attribution, > 0.

    Raises:
        ValueError: If an argument is out of range, or, when called, if attributions are not of the inputs' shape.
    """

    def __init__(self, share: float = 0.3, sharpness: float = 10.0) -> None:
        super().__init__()
        check_share(share, sharpness)
        self.share = share
        self.sharpness = sharpness

    def forward(
        self, model: nn.Module, inputs: Tensor, logits: Tensor, attributions: Tensor, baseline: Tensor
    ) -> Tensor:
        """Return a scalar; logits are (batch, classes), attributions of the inputs' shape."""
        check_alike(attributions=attributions, inputs=inputs)
        part = soft_part(attributions, self.share, self.sharpness)
        with evaluating(model):
            kept = logits_of(model(mixed(inputs, baseline, part)))
        whole = F.log_softmax(at_least_float32(logits).detach(), dim=1)
        return F.kl_div(F.log_softmax(at_least_float32(kept), dim=1), whole, log_target=True, reduction="batchmean")


class NecessaryPart(nn.Module):
    """Confidence in the explained class that is left without the attributed part: nats, lower is better.

    ``mean_b -log(1 - p_c(model(x * (1 - m) + baseline * m)))`` with c the class explained and m as in
    ``SufficientPart``; zero is approached as the class becomes impossible without its evidence. Comprehensiveness of
    DeYoung et al. 2020, equation 1, https://arxiv.org/abs/1911.03429, as a log loss and differentiable.
    The model is called in eval mode.

    Args:
        share: Of the elements, in (0, 1).
        sharpness: Of the mark's edge, in units of the mean attribution, > 0.

    Raises:
        ValueError: If an argument is out of range, or, when called, if attributions are not of the inputs' shape.
    """

    def __init__(self, share: float = 0.3, sharpness: float = 10.0) -> None:
        super().__init__()
        check_share(share, sharpness)
        self.share = share
        self.sharpness = sharpness

    def forward(
        self, model: nn.Module, inputs: Tensor, attributions: Tensor, explained: Tensor, baseline: Tensor
    ) -> Tensor:
        """Return a scalar from inputs and attributions (batch, ...), classes (batch,) and a baseline like one input."""
        check_alike(attributions=attributions, inputs=inputs)
        part = soft_part(attributions, self.share, self.sharpness)
        with evaluating(model):
            logits = at_least_float32(logits_of(model(mixed(inputs, baseline, 1 - part))))
        others = logits.scatter(1, explained[:, None], -torch.inf).logsumexp(1)
        return (logits.logsumexp(1) - others).mean()
