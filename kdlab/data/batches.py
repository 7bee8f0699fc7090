"""Batches of any LightningDataModule in the one form that kdlab's modules read."""

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor


def first_batch(data: LightningDataModule) -> dict[str, Tensor]:
    """Return one training batch; the loader that trains later is another."""
    data.prepare_data()
    data.setup("fit")
    return as_batch(next(iter(data.train_dataloader())))


def as_batch(batch: object) -> dict[str, Tensor]:
    """Return the batch as a dict with ``inputs`` and ``target``.

    A dict stays as it is, further keys included; (inputs, target) pairs and a lone tensor are named. Without a target
    the samples count as unlabelled (-1). A pair has no ``index`` and no ``view``: its soft labels are not cached.

    Args:
        batch: A dict with ``inputs``, a tuple or list of one or two tensors, or a tensor.

    Raises:
        TypeError: If the batch, its inputs or its target is of another type.
        ValueError: If there are no inputs, or the target is not one class number a sample.
    """
    if isinstance(batch, Tensor):
        batch = (batch,)
    if isinstance(batch, tuple | list):
        if len(batch) not in (1, 2):
            raise ValueError(f"a batch of {len(batch)} parts has no names; yield (inputs, target) or a dict")
        batch = dict(zip(("inputs", "target"), batch, strict=False))
    if not isinstance(batch, dict):
        raise TypeError(f"a batch is a dict, (inputs, target) or a tensor, got {type(batch).__name__}")
    if "inputs" not in batch:
        raise ValueError(f"the batch has no inputs, only {sorted(map(str, batch))}; name them inputs and target")
    inputs, target = batch["inputs"], batch.get("target")
    if not isinstance(inputs, Tensor) or not isinstance(target, Tensor | None):
        raise TypeError(f"inputs and target must be tensors, got {type(inputs).__name__} and {type(target).__name__}")
    if target is None:
        return {**batch, "target": torch.full((len(inputs),), -1, dtype=torch.int64, device=inputs.device)}
    if target.is_floating_point() or target.shape != (len(inputs),):
        raise ValueError(
            f"target has shape {tuple(target.shape)} and type {target.dtype} for {len(inputs)} inputs; kdlab"
            " classifies: it needs one class number a sample (regression and multi-label are not supported)"
        )
    return batch if target.dtype == torch.int64 else {**batch, "target": target.long()}
