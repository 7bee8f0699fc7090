"""How an explainer speaks of the values of an input."""

from collections.abc import Sequence

from kdlab.data.preparation import Preparation


def reading(inputs: int, names: Sequence[str] | None, preparation: Preparation | None) -> Preparation:
    """Return the units and names in which an explainer of so many values is read.

    Args:
        inputs: Number of values in one flattened input.
        names: Of the values, or of the channels that the preparation knows; None: the preparation's, else ``feature
            0``, ``feature 1`` and so on.
        preparation: The data's, where they have one; None: values are read as they are.

    Raises:
        ValueError: If there are names or a preparation, but for another number of values.
    """
    channels = 0 if preparation is None or preparation.mean.dim() < 2 else len(preparation.mean)
    if names is not None and len(names) not in (inputs, channels):
        raise ValueError(f"{len(names)} names were given for {inputs} of 'feature'")
    if preparation is None:
        return Preparation.none((inputs,), names)
    if preparation.mean.numel() != inputs:
        raise ValueError(
            f"the explainer was built for {inputs} values, the data's inputs {tuple(preparation.mean.shape)} have "
            f"{preparation.mean.numel()}; set inputs to that"
        )
    return preparation if names is None else preparation.called(names)
