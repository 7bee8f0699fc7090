"""Tiny made-up data: a data module for rehearsals, and files in the formats that kdlab reads.

Run as a script, it fills a folder with files laid out like real ones, for experiments that read ${KDLAB_DATA}:

    python tests/data/made_up.py FOLDER
"""

import csv
import gzip
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kdlab.data.augment import Augmentation
from kdlab.data.base import DataModule

Values = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class MadeUp(DataModule):
    """Noisy copies of one random pattern a class; a linear model learns it in a few steps.

    Args:
        shape: Of one input: (64,) is a table, (1, 8, 8) an image, (2, 32) a series.
        classes: Number of classes.
        samples: Of train, val and test.
        batch_size: As in DataModule.
        split_seed: As in DataModule.
        augment: As in DataModule.
    """

    def __init__(
        self,
        shape: tuple[int, ...] = (1, 8, 8),
        classes: int = 10,
        samples: tuple[int, int, int] = (80, 40, 40),
        batch_size: int = 16,
        split_seed: int = 0,
        augment: Augmentation | None = None,
    ) -> None:
        super().__init__(batch_size, split_seed, augment)
        self.input_shape = tuple(shape)
        self.number_of_classes = classes
        self.sizes = samples

    def load(self) -> dict[str, dict[str, Tensor]]:
        draw = torch.Generator().manual_seed(self.split_seed)
        patterns = torch.randn(self.number_of_classes, *self.input_shape, generator=draw)
        splits = {}
        for split, count in zip(("train", "val", "test"), self.sizes, strict=True):
            target = torch.arange(count) % self.number_of_classes
            noise = torch.randn(count, *self.input_shape, generator=draw)
            splits[split] = {"inputs": patterns[target] + 0.5 * noise, "target": target}
        if len(self.input_shape) == 1:
            self.feature_names = [f"column{number}" for number in range(self.input_shape[0])]
        return splits


def patterns(rows: int, classes: int, shape: tuple[int, ...], seed: int = 0) -> tuple[Values, list[int]]:
    """Return values in 0 .. 1 (rows, *shape) around one pattern a class, and the class of each row."""
    draw = np.random.default_rng(seed)
    centres = draw.uniform(0.2, 0.8, (classes, *shape))
    target = [row % classes for row in range(rows)]
    return np.clip(centres[target] + draw.normal(0, 0.1, (rows, *shape)), 0, 1), target


def write_idx(folder: Path, train: int = 200, test: int = 40, size: int = 28, classes: int = 10) -> Path:
    """Write the four files of the Fashion-MNIST layout."""
    folder.mkdir(parents=True, exist_ok=True)
    values, target = patterns(train + test, classes, (size, size))
    images = (values * 255).astype(np.uint8)
    for name, part in (("train", slice(None, train)), ("t10k", slice(train, None))):
        count = len(target[part])
        header = struct.pack(">4B3I", 0, 0, 8, 3, count, size, size)
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images[part].tobytes(), mtime=0))
        header = struct.pack(">4BI", 0, 0, 8, 1, count)
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + bytes(target[part]), mtime=0))
    return folder


def write_image_folder(folder: Path, train: int = 12, test: int = 4, size: int = 32, classes: int = 10) -> Path:
    """Write {train,test}/CLASS/*.png with so many images a class."""
    values, target = patterns((train + test) * classes, classes, (size, size, 3))
    for row, (image, number) in enumerate(zip(values, target, strict=True)):
        split = "train" if row < train * classes else "test"
        file = folder / split / f"class{number}" / f"{row:05}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 255).astype(np.uint8)).save(file)
    return folder


def write_numbers(file: Path, target: str = "letter", rows: int = 520, columns: int = 16, classes: int = 26) -> Path:
    """Write a CSV of whole numbers in the layout of UCI's letters."""
    values, numbers = patterns(rows, classes, (columns,))
    header = [target, *(f"x{column}" for column in range(columns))]
    lines = [
        [chr(ord("A") + number), *(round(value * 15) for value in row)]
        for number, row in zip(numbers, values, strict=True)
    ]
    return write_csv(file, [header, *lines])


def write_mixed(file: Path, rows: int = 120) -> Path:
    """Write a CSV of numbers and categories, one of which is called "none", in the layout of UCI's German credit."""
    draw = np.random.default_rng(0)
    lines: list[list[object]] = [["duration", "amount", "housing", "debtors", "class"]]
    for row in range(rows):
        good = row % 3 > 0
        housing = draw.choice(["own", "rent", "for free"], p=[0.7, 0.2, 0.1] if good else [0.3, 0.5, 0.2])
        debtors = draw.choice(["none", "guarantor"])
        duration, amount = draw.integers(4, 48), draw.normal(2.0 if good else 4.0)
        lines.append([duration, f"{amount:.3f}", housing, debtors, "good" if good else "bad"])
    return write_csv(file, lines)


def write_npz(file: Path, train: int = 60, val: int = 20, test: int = 20, size: int = 12, classes: int = 2) -> Path:
    """Write arrays of grey images and of labels (samples, 1) for each split, in the layout of MedMNIST."""
    values, target = patterns(train + val + test, classes, (size, size))
    images, labels = (values * 255).astype(np.uint8), np.array(target, dtype=np.uint8)[:, None]
    ends = {"train": slice(train), "val": slice(train, train + val), "test": slice(train + val, None)}
    arrays = {f"{split}_images": images[rows] for split, rows in ends.items()}
    arrays |= {f"{split}_labels": labels[rows] for split, rows in ends.items()}
    return save_npz(file, **arrays)


def write_beats(file: Path, rows: int = 120, seed: int = 0) -> Path:
    """Write series, classes, patients and a second array of numbers, in the layout of single heart beats."""
    values, target = patterns(rows, 4, (4,), seed)
    steps = np.linspace(0, 1, 64)
    waves = np.stack([np.interp(steps, np.linspace(0, 1, 4), row) for row in values])
    return save_npz(
        file,
        x_uv=(waves * 2000 - 1000).astype(np.int16),
        y=np.array(target, dtype=np.int8),
        symbol=np.array(list("NSVF"))[target],
        rr=np.random.default_rng(seed).uniform(0.4, 1.2, (rows, 3)).astype(np.float32),
        record=(np.arange(rows) // 4 % 12 + 100 + 100 * seed).astype(np.int16),
    )


def save_npz(file: Path, **arrays: Any) -> Path:
    """Write an NPZ file, and the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **arrays)
    return file


def write_series(file: Path, series: int = 30, steps: int = 12) -> Path:
    """Write a CSV in long form: two channels, a row a step, the rows of all series shuffled."""
    values, target = patterns(series, 2, (steps, 2))
    lines = [
        [f"s{number:02}", step, f"{x:.3f}", f"{1000 * y:.1f}", ["walk", "run"][target[number]], f"p{number // 3}"]
        for number in range(series)
        for step, (x, y) in enumerate(values[number])
    ]
    np.random.default_rng(0).shuffle(lines)
    return write_csv(file, [["series", "time", "x", "y", "kind", "person"], *lines])


def texts_and_labels(rows: int = 60) -> list[list[str]]:
    """Return short texts about animals and about money in turn, each with a number of its own, and their labels."""
    animals = ["the cat sleeps on the warm mat", "a dog barks at the old cat", "the dog runs over a green field"]
    money = ["my card was declined at the bank", "the bank charged a fee twice", "a transfer of money is late"]
    subjects = {"animal": animals, "money": money}
    labels = [list(subjects)[row % 2] for row in range(rows)]
    return [[f"{subjects[label][row // 2 % 3]}, {row} times", label] for row, label in enumerate(labels)]


def write_texts(file: Path, rows: int = 60) -> Path:
    """Write a CSV of texts and their labels."""
    return write_csv(file, [["text", "label"], *texts_and_labels(rows)])


def write_csv(file: Path, lines: Sequence[Sequence[object]]) -> Path:
    """Write a CSV file, and the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows(lines)
    return file


def write_all(folder: Path) -> Path:
    """Write every kind of file at the place where the real ones stand below ${KDLAB_DATA}."""
    write_idx(folder / "fashion-mnist")
    write_image_folder(folder / "cifar10-images")
    write_numbers(folder / "letter-recognition" / "letter.csv")
    write_mixed(folder / "german-credit" / "german_credit.csv")
    write_npz(folder / "pneumonia-mnist" / "pneumoniamnist.npz")
    write_beats(folder / "mitbih-beats" / "train.npz")
    write_beats(folder / "mitbih-beats" / "test.npz", seed=1)
    return folder


if __name__ == "__main__":
    print(write_all(Path(sys.argv[1])))
