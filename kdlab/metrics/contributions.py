"""What each feature is said to contribute to the score: attributions as they are, slopes times the way that they go."""

from torch import Tensor

from kdlab.metrics.checks import check_attributions, expand_baseline
from kdlab.metrics.numerics import rows


def contributions(
    attributions: Tensor, inputs: Tensor, baseline: Tensor | None, multiplies_by_inputs: bool = True
) -> Tensor:
    """Return ``a``, or for slopes ``a (x - x_0)``: (batch, features), detached, in float32 or better.

    Who removes features puts them to the baseline, and compares the loss with the attribution. A slope says what a step
    of one unit does: over the way ``x - x_0`` it foretells their product, and as it stands it foretells nothing.

    Args:
        attributions: The inputs' shape.
        inputs: (batch, ...).
        baseline: x_0, shape of one input, or broadcastable to the inputs; of use for slopes only.
        multiplies_by_inputs: Whether attributions are contributions, or a relevance, as they stand; else slopes.

    Raises:
        ValueError: If shapes do not fit, or there are slopes and no baseline.
    """
    check_attributions(attributions, inputs)
    values = rows(attributions)
    if multiplies_by_inputs:
        return values
    if baseline is None:
        raise ValueError("slopes count times the distance to the baseline, and there is none; hand in baseline")
    return values * (inputs.detach() - expand_baseline(baseline, inputs).detach()).flatten(1).to(values)
