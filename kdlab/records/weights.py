"""Weights on disk: safetensors files, or checkpoints that are read without executing anything in them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from kdlab.errors import StageError
from kdlab.records.files import replacing

#: The metadata key under which a weights file lists, in JSON, the classes that it was trained for.
CLASS_NAMES = "class_names"


class WholeCheckpoints(TorchCheckpointIO):
    """Write Lightning's checkpoints atomically; Lightning's own way leaves files in /tmp when the process is killed."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ANN401  Lightning's signature
    ) -> None:
        """Write the checkpoint to a temporary file and then put it in its place in one step."""
        with replacing(Path(path)) as scratch:
            torch.save(checkpoint, scratch)


def save_weights(path: Path, tensors: Mapping[str, Tensor], class_names: Sequence[str] | None = None) -> None:
    """Write a ``.safetensors`` file in one atomic step, with the names of the classes if they are given."""
    about = None if class_names is None else {CLASS_NAMES: json.dumps(list(class_names))}
    # Copies, because safetensors refuses tensors that share memory, as tied weights do.
    content = save({key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}, about)
    with replacing(path) as scratch:
        scratch.write_bytes(content)


def classes_in(path: Path) -> list[str] | None:
    """Return the names of the classes that weights were trained for, in the logits' order; None if the file has none.

    Raises:
        StageError: If the file is damaged.
    """
    # Checkpoints of torch have no metadata that could name classes.
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt") as opened:
            about = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise StageError(f"{path} is damaged: {error}") from error
    return list(json.loads(about[CLASS_NAMES])) if CLASS_NAMES in about else None


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read weights from ``.safetensors``, or from a checkpoint of torch or Lightning without executing anything.

    Raises:
        StageError: If the file is missing, damaged, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise StageError(f"no weights at {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, EOFError, RuntimeError, ValueError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise StageError(f"{path} is damaged: {said}") from error
    except UnpicklingError as error:  # torch's own message would explain how to load the file unsafely
        raise StageError(f"{path} is damaged or holds more than weights; save model.state_dict() instead") from error
    # Lightning's checkpoints hold the weights under a key, beside much else.
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    weights = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if not weights:
        raise StageError(f"{path} holds no weights; save model.state_dict()")
    return weights
