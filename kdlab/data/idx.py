"""Images in IDX files, the format of MNIST and its successors."""

import gzip
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from kdlab.data.augment import Augmentation
from kdlab.data.base import DataModule
from kdlab.data.paths import resolved
from kdlab.data.seeding import generator_at
from kdlab.data.splitting import stratified_order, stratified_parts, take


class Idx(DataModule):
    """A folder with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and both for ``t10k``, plain or ``.gz``.

    Grey images of shape (1, height, width), standardised with the training split. The validation split is drawn from
    the training file, stratified, by ``split_seed``.

    Args:
        folder: ``~`` and ``${VARIABLE}`` are expanded, a relative path is relative to the working directory.
        val_size: Samples of the validation split.
        train_size: If given, only so many training samples are kept (stratified), for small runs.
        test_size: If given, only so many test samples are kept (stratified).
        class_names: Names of the classes in the order of their numbers. None: the numbers.
        batch_size: Samples in a batch over all devices together.
        split_seed: Draws the split and the probe.
        augment: Changes training batches at random, for example ``ShiftFlip``.

    Raises:
        FileNotFoundError: In ``setup``, if the folder or one of the four files is missing.
        ValueError: In ``setup``, if a file is damaged or the sizes exceed what there is.
    """

    def __init__(
        self,
        folder: str,
        val_size: int = 5000,
        train_size: int | None = None,
        test_size: int | None = None,
        class_names: list[str] | None = None,
        batch_size: int = 64,
        split_seed: int = 0,
        augment: Augmentation | None = None,
    ) -> None:
        super().__init__(batch_size, split_seed, augment)
        if min(size for size in (val_size, train_size, test_size) if size is not None) < 1:
            raise ValueError(f"sizes must be positive, got {val_size=}, {train_size=}, {test_size=}")
        self.folder = folder
        self.val_size = val_size
        self.train_size = train_size
        self.test_size = test_size
        self.class_names = list(class_names or [])

    def load(self) -> dict[str, dict[str, Tensor]]:
        """Read the four files and draw the validation split."""
        folder = resolved(self.folder)
        training, test = _read_pair(folder, "train"), _read_pair(folder, "t10k")
        available = len(training["target"]) - self.val_size
        if available < (self.train_size or 1) or len(test["target"]) < (self.test_size or 1):
            raise ValueError(
                f"{folder} has {len(training['target'])} training and {len(test['target'])} test images; asked for"
                f" val_size={self.val_size}, train_size={self.train_size}, test_size={self.test_size}"
            )
        draw = generator_at("split", self.split_seed)
        train_rows, val_rows = stratified_parts(training["target"], (available, self.val_size), draw)
        train, val = take(training, train_rows), take(training, val_rows)
        splits = {"train": self._part(train, self.train_size), "val": val, "test": self._part(test, self.test_size)}
        return self.standardised(splits)

    def _part(self, tensors: dict[str, Tensor], size: int | None) -> dict[str, Tensor]:
        if size is None:
            return tensors
        rows = stratified_order(tensors["target"], generator_at("part", self.split_seed))[:size]
        return take(tensors, rows.sort().values)


def _read_pair(folder: Path, part: str) -> dict[str, Tensor]:
    images, labels = _read(folder, f"{part}-images-idx3-ubyte", 3), _read(folder, f"{part}-labels-idx1-ubyte", 1)
    if len(images) != len(labels):
        raise ValueError(f"{folder} has {len(images)} {part} images but {len(labels)} labels")
    return {"inputs": images.unsqueeze(1).float() / 255, "target": labels.long()}


def _read(folder: Path, name: str, dimensions: int) -> Tensor:
    packed, plain = folder / f"{name}.gz", folder / name
    file = packed if packed.exists() else plain
    if not file.exists():
        raise FileNotFoundError(f"no file {name} or {name}.gz in {folder}")
    try:
        content = gzip.decompress(file.read_bytes()) if file == packed else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    # Two zero bytes, the type (8: unsigned byte), the number of dimensions, then each size as a big-endian integer.
    header = 4 + 4 * dimensions
    sizes = struct.unpack(f">{dimensions}I", content[4:header]) if len(content) >= header else ()
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) - header != torch.Size(sizes).numel():
        raise ValueError(f"{file} is not an IDX file of {dimensions} dimensions and unsigned bytes, or is cut short")
    return torch.frombuffer(bytearray(content[header:]), dtype=torch.uint8).reshape(sizes)
