"""What metrics refuse at the door, in one line that names what was found."""

import torch
from torch import Tensor


def check_logits(logits: Tensor, name: str = "logits") -> None:
    """Raise ValueError unless the tensor is (batch, classes) with two classes or more."""
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise ValueError(f"{name} must be (batch, classes) with two classes or more, got {tuple(logits.shape)}")


def check_columns(logits: Tensor, classes: int, name: str = "logits") -> None:
    """Raise ValueError unless the tensor is (batch, classes) with just that many classes."""
    if logits.dim() != 2 or logits.shape[1] != classes:
        raise ValueError(f"{name} must be (batch, {classes}), got {tuple(logits.shape)}")


def check_same_shape(**tensors: Tensor) -> None:
    """Raise ValueError unless all tensors, given by name, have one shape."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            " and ".join(f"{name} {shape}" for name, shape in shapes.items()) + " must have the same shape"
        )


def check_classes(indices: Tensor, batch: int, classes: int, name: str, lowest: int = 0) -> None:
    """Raise ValueError unless the tensor is (batch,) of class indices from ``lowest`` to ``classes`` - 1."""
    if tuple(indices.shape) != (batch,):
        raise ValueError(f"{name} must be ({batch},), one class a sample, got {tuple(indices.shape)}")
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise ValueError(f"{name} must hold class indices (int64), got {indices.dtype}")
    if batch == 0:
        return
    low, high = (int(bound) for bound in torch.stack(indices.aminmax()).tolist())
    if low < lowest or high >= classes:
        raise ValueError(f"{name} must lie in {lowest}..{classes - 1}, got {low if low < lowest else high}")


def check_target(target: Tensor, logits: Tensor) -> None:
    """Raise ValueError unless the target fits the logits; -1 is an unlabelled sample."""
    check_classes(target, logits.shape[0], logits.shape[1], "target", lowest=-1)


def check_positive(**values: float | None) -> None:
    """Raise ValueError unless all values, given by name, are above 0 or None."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def check_share(**values: float) -> None:
    """Raise ValueError unless all values, given by name, are shares: above 0 and at most 1."""
    for name, value in values.items():
        if not 0 < value <= 1:
            raise ValueError(f"{name} must lie in (0, 1], got {value}")


def check_attributions(attributions: Tensor, inputs: Tensor) -> None:
    """Raise ValueError unless the attributions have the inputs' shape, (batch, ...) with one feature or more."""
    check_same_shape(attributions=attributions, inputs=inputs)
    if inputs.dim() < 2 or (inputs[:1].numel() == 0 and inputs.shape[0] > 0):
        raise ValueError(f"inputs must be (batch, ...) with one feature or more, got {tuple(inputs.shape)}")


def expand_baseline(baseline: Tensor, inputs: Tensor) -> Tensor:
    """Return the baseline in the inputs' shape and type.

    Args:
        baseline: Shape of one input, or anything that broadcasts to the inputs, (batch, ...).
        inputs: (batch, ...).

    Raises:
        ValueError: If the baseline does not broadcast to the inputs.
    """
    missing = inputs.dim() - baseline.dim()
    fits = missing >= 0 and all(
        own in (1, size) for own, size in zip(baseline.shape, inputs.shape[missing:], strict=True)
    )
    if not fits:
        raise ValueError(f"baseline {tuple(baseline.shape)} does not broadcast to inputs {tuple(inputs.shape)}")
    return baseline.to(inputs).expand_as(inputs)
