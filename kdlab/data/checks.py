"""What is refused of the tensors that a data module loads."""

from torch import Tensor


def checked(
    name: str, tensors: dict[str, Tensor], feature_names: list[str] | None, vocabulary: int | None = None
) -> dict[str, Tensor]:
    """Return the tensors of a split, inputs as float32 (token numbers as int64) and target as int64.

    Args:
        name: What a message calls the split.
        tensors: By name.
        feature_names: Of a table's columns, for messages, or of channels.
        vocabulary: How many tokens there are; None: inputs are no token numbers.

    Raises:
        ValueError: If the tensors do not fit together, hold NaN, a target is no class number, or an input no token's.
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
    if vocabulary is not None:
        return {**tensors, "inputs": _token_numbers(name, tensors["inputs"], vocabulary), "target": target.long()}
    inputs = tensors["inputs"].float()
    bad = ~inputs.isfinite().flatten(1)
    if bad.any():
        columns = bad.any(0).nonzero().flatten().tolist()
        named = [feature_names[column] for column in columns] if feature_names and inputs.ndim == 2 else columns
        raise ValueError(f"{name} has NaN or infinite values in {int(bad.any(1).sum())} samples, inputs {named[:10]}")
    return {**tensors, "inputs": inputs, "target": target.long()}


def _token_numbers(name: str, inputs: Tensor, vocabulary: int) -> Tensor:
    if inputs.is_floating_point() or inputs.ndim != 2:
        raise ValueError(
            f"{name} has inputs of shape {tuple(inputs.shape)} and type {inputs.dtype}; with a vocabulary they are the"
            " tokens' numbers, whole, (samples, length)"
        )
    low, high = int(inputs.min()), int(inputs.max())
    if not 0 <= low <= high < vocabulary:
        raise ValueError(f"{name} has token numbers {low} .. {high} of a vocabulary of {vocabulary}, which ends below")
    return inputs.long()
