"""What every explainer promises where prediction and explanation are made in one call, as a check for a user's own."""

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from kdlab.explainers.base import Attribution, Deploys
from kdlab.explainers.explained import Explained


@torch.no_grad()
def check_explains_in_one_call(explainer: Attribution, model: nn.Module, inputs: Tensor) -> None:
    """Check that ``Explained`` gives the model's logits and the explainer's attributions of their top class.

    An explainer that can be deployed must not run the model again. Model and explainer are left in eval mode.

    Raises:
        AssertionError: With what was broken.
    """
    both = Explained(model, explainer)
    runs: list[int] = []
    hook = model.register_forward_hook(lambda *_: runs.append(1))
    try:
        logits, explained, attributions = both(inputs)
    finally:
        hook.remove()
    if len(runs) != 1 and isinstance(explainer, Deploys):
        raise AssertionError(f"the model ran {len(runs)} times in one call")
    assert_close(logits, model(inputs))
    assert_close(explained, logits.argmax(dim=1), rtol=0, atol=0)
    assert_close(attributions, explainer.attribute(inputs, explained))
