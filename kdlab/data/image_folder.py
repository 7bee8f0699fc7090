"""Images in folders named after their classes."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from kdlab.data.augment import Augmentation
from kdlab.data.base import DataModule
from kdlab.data.paths import resolved
from kdlab.data.seeding import generator_at
from kdlab.data.splitting import sizes_of, stratified_order, stratified_parts, take

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}


class ImageFolder(DataModule):
    """A folder ``train/CLASS/*.png`` and ``test/CLASS/*.png`` (or .jpg ...), and ``val/`` if there is one.

    Images of shape (channels, height, width), standardised by channel with the training split. They are held in memory,
    4 bytes a value. Classes are numbered in the alphabetical order of the training folders.

    Args:
        folder: ``~`` and ``${VARIABLE}`` are expanded, a relative path is relative to the working directory.
        size: Height and width to which images are scaled. None: they must be of one size already.
        grey: Whether to read one grey channel instead of three colours.
        val_fraction: Share of the training images that become the validation split where there is no ``val/``.
        train_size: If given, only so many training images are kept (stratified), for small runs.
        batch_size: Samples in a batch over all devices together.
        split_seed: Draws the split and the probe.
        augment: Changes training batches at random, for example ``ShiftFlip``.

    Raises:
        FileNotFoundError: In ``setup``, if the folder, a split or images are missing.
        ValueError: In ``setup``, if an image cannot be read, sizes differ, or a class is unknown in train.
    """

    def __init__(
        self,
        folder: str,
        size: int | None = None,
        grey: bool = False,
        val_fraction: float = 0.1,
        train_size: int | None = None,
        batch_size: int = 64,
        split_seed: int = 0,
        augment: Augmentation | None = None,
    ) -> None:
        super().__init__(batch_size, split_seed, augment)
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction must be between 0 and 1, got {val_fraction}")
        if min(value for value in (size, train_size, 1) if value is not None) < 1:
            raise ValueError(f"sizes must be positive, got {size=}, {train_size=}")
        self.folder = folder
        self.size = size
        self.grey = grey
        self.val_fraction = val_fraction
        self.train_size = train_size
        self._files: list[str] = []

    def load(self) -> dict[str, dict[str, Tensor]]:
        """Read all images and draw the validation split if there is none."""
        folder = resolved(self.folder)
        self.class_names = _folders(folder / "train")
        splits = {split: self._read_split(folder / split) for split in ("train", "test")}
        if (folder / "val").is_dir():
            splits["val"] = self._read_split(folder / "val")
        else:
            target = splits["train"]["target"]
            sizes = sizes_of(len(target), (1 - self.val_fraction, self.val_fraction))
            parts = stratified_parts(target, sizes, generator_at("split", self.split_seed))
            splits["train"], splits["val"] = (take(splits["train"], rows) for rows in parts)
        if self.train_size is not None:
            target = splits["train"]["target"]
            if self.train_size > len(target):
                raise ValueError(
                    f"train_size={self.train_size}, but there are {len(target)} training images in {folder}"
                )
            rows = stratified_order(target, generator_at("part", self.split_seed))[: self.train_size]
            splits["train"] = take(splits["train"], rows.sort().values)
        self.sample_names = {
            split: [self._files[number] for number in tensors.pop("file").tolist()] for split, tensors in splits.items()
        }
        return self.standardised(splits)

    def _read_split(self, folder: Path) -> dict[str, Tensor]:
        unknown = sorted(set(_folders(folder)) - set(self.class_names))
        if unknown:
            raise ValueError(
                f"{folder} has the classes {unknown[:5]}, which train has not; it has {self.class_names[:20]}"
            )
        images: list[Tensor] = []
        target: list[int] = []
        first = len(self._files)
        for number, name in enumerate(self.class_names):
            for file in sorted((folder / name).glob("*")):
                if file.suffix.lower() not in ENDINGS:
                    continue
                image = self._read_image(file)
                if images and image.shape != images[0].shape:
                    sizes = [tuple(pixels.shape[1:]) for pixels in (image, images[0])]
                    raise ValueError(f"{file} has {sizes[0]} pixels, others {sizes[1]}; give size to scale all images")
                images.append(image)
                target.append(number)
                self._files.append(f"{folder.name}/{name}/{file.name}")
        if not images:
            raise FileNotFoundError(f"no images in the class folders of {folder}; endings read are {sorted(ENDINGS)}")
        files = torch.arange(first, len(self._files))
        return {"inputs": torch.stack(images).float() / 255, "target": torch.tensor(target), "file": files}

    def _read_image(self, file: Path) -> Tensor:
        try:
            with Image.open(file) as opened:
                image = opened.convert("L" if self.grey else "RGB")
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise ValueError(f"{file} is not an image that can be read: {error}") from error
        if self.size is not None:
            image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        values = torch.from_numpy(np.array(image, dtype=np.uint8))
        return values.unsqueeze(0) if self.grey else values.permute(2, 0, 1)


def _folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; an image folder has train/CLASS/ and test/CLASS/")
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
