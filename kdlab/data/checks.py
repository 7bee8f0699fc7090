"""What is refused of the tensors that a data module loads."""

from torch import Tensor


def checked(name: str, tensors: dict[str, Tensor], feature_names: list[str] | None) -> dict[str, Tensor]:
    """Return the tensors of a split, inputs as float32 and target as int64.

    Args:
        name: What a message calls the split.
        tensors: By name.
        feature_names: Of a table's columns, for messages, or of channels.

    Raises:
        ValueError: If the tensors do not fit together, hold NaN, or a target is no class number.
    """
    if not {"inputs", "target"} <= tensors.keys():
        raise ValueError(f"{name} needs inputs and target, load() returned {sorted(tensors)}")
    lengths = {key: len(tensor) for key, tensor in tensors.items()}
    if len(set(lengths.values())) != 1 or lengths["inputs"] < 1:
        raise ValueError(f"{name} needs tensors of one length, at least 1, got {lengths}")
    target = tensors["target"]
    if target.ndim != 1 or target.is_floating_point():
        raise ValueError(
            f"{name} has a target of shape {tuple(target.shape)} and type {target.dtype}; kdlab classifies: it"
            " needs one class number a sample (regression and multi-label are not supported)"
        )
    inputs = tensors["inputs"].float()
    bad = ~inputs.isfinite().flatten(1)
    if bad.any():
        columns = bad.any(0).nonzero().flatten().tolist()
        named = [feature_names[column] for column in columns] if feature_names and inputs.ndim == 2 else columns
        raise ValueError(f"{name} has NaN or infinite values in {int(bad.any(1).sum())} samples, inputs {named[:10]}")
    return {**tensors, "inputs": inputs, "target": target.long()}
