"""What every data module has: three splits of tensors, identities, a reproducible order, labelled subsets."""

import copy
import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Self

import lightning.pytorch as L
import torch
from torch import Tensor

from kdlab.data.augment import Augmentation
from kdlab.data.checks import checked
from kdlab.data.description import Description
from kdlab.data.loader import ShuffledLoader, TensorLoader
from kdlab.data.preparation import Preparation, TableColumn
from kdlab.data.sample_names import SampleNames, check_sample_names
from kdlab.data.seeding import generator_at
from kdlab.data.splitting import stratified_order, take

SPLITS = ("train", "val", "test")
#: Batches that are not trained on may be this many times larger: they keep no graph, and a metric takes as long for a
#: few samples as for a thousand.
SCORED = 8
#: But not beyond so many values, for a convolution that outgrows a processor's cache takes twice as long a sample.
CACHED = 2**18


class DataModule(L.LightningDataModule, ABC):
    """Data that fit in memory. A subclass implements ``load``; the rest is here.

    A batch is a dict: ``inputs`` (batch, ...) float32, ``target`` (batch,) int64 with -1 for unlabelled, ``index``
    (batch,) int64, unique over the three splits, and ``view`` (batch,) int64, all 0: the same (index, view) is always
    the same input, so that soft labels may be cached. Batches that are augmented at random have no ``view``. Further
    tensors that ``load`` returns (``mask``, ``groups``) are sliced along. Where ``load`` sets ``vocabulary``, inputs
    are (batch, length) int64 instead: the numbers of tokens, 0 for padding.

    After ``setup``: ``classes``, ``shape`` of one input, ``baseline`` (one input that stands for "nothing there"),
    ``class_names``, ``feature_names`` (None where inputs are not a table), ``preparation`` (the way back to the units
    and names that people know), ``vocabulary`` (how many tokens there are; None where inputs are none).

    Args:
        batch_size: Samples in a batch over all devices together, >= 1.
        split_seed: Draws the split and the probe. Part of the data, not of a run: every seed trains on one split.
        augment: Changes training batches at random, for example ``ShiftFlip``. None: inputs are fixed.

    Raises:
        ValueError: In ``setup``, if the tensors do not fit together, hold NaN, or a target is no class number.
    """

    classes: int
    shape: tuple[int, ...]
    baseline: Tensor

    def __init__(self, batch_size: int = 64, split_seed: int = 0, augment: Augmentation | None = None) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.batch_size = batch_size
        self.split_seed = split_seed
        self.augment = augment
        self.class_names: list[str] = []
        self.feature_names: list[str] | None = None
        self.vocabulary: int | None = None
        self.remarks: list[str] = []
        self.sample_names: dict[str, list[str]] | None = None
        self.splits: dict[str, dict[str, Tensor]] = {}
        self._preparation: Preparation | None = None
        self._seed = 0
        self._rows: Tensor | None = None

    def __str__(self) -> str:
        # Lightning's own asks loaders for a `dataset` and fails without one.
        counts = " / ".join(str(len(self.splits[split]["target"])) for split in SPLITS) if self.splits else "not loaded"
        return f"{type(self).__name__}({counts})"

    @abstractmethod
    def load(self) -> dict[str, dict[str, Tensor]]:
        """Return ``inputs`` (N, ...) and ``target`` (N,), and what else there is, for "train", "val" and "test".

        May set ``class_names``, ``feature_names``, ``vocabulary``, ``remarks`` (what a person should know, a line each)
        and ``sample_names`` (what each sample of each split is called, such as a patient's number or a file's name; no
        two alike), and return what ``standardised`` makes of the splits.
        """

    def standardised(
        self, splits: dict[str, dict[str, Tensor]], columns: Sequence[TableColumn] | None = None
    ) -> dict[str, dict[str, Tensor]]:
        """Return the splits with their inputs standardised by the training split, and keep how in ``preparation``.

        Args:
            splits: As ``load`` returns them, in the values' own units.
            columns: What the values of a table are; categories stay as they are, 0 or 1. None: all are numbers.
        """
        if columns is None and self.feature_names is not None and splits["train"]["inputs"].ndim == 2:
            columns = [TableColumn(name) for name in self.feature_names]
        self._preparation = Preparation.standardising(splits, columns)
        return self._preparation.applied(splits)

    @property
    def preparation(self) -> Preparation:
        """How inputs came from the values that a person knows; as they are, unless ``load`` standardised them."""
        self.setup()
        if self._preparation is None:
            return Preparation.none(self.shape, self.feature_names)
        return self._preparation if self.feature_names is None else self._preparation.called(self.feature_names)

    def baseline_of(self, inputs: Tensor) -> Tensor:
        """Return the baseline, of one input's shape: 0 for (standardised) images and tokens, else the training mean."""
        zero = inputs.ndim == 4 or self.vocabulary is not None
        return torch.zeros_like(inputs[0]) if zero else inputs.mean(0)

    def setup(self, stage: str | None = None) -> None:
        """Load once; later calls, which Lightning makes for every stage, do nothing."""
        if self.splits:
            return
        loaded = self.load()
        splits, first = {}, 0
        for split in SPLITS:
            if split not in loaded:
                raise ValueError(f"{type(self).__name__} has no {split} split; load() returned {sorted(loaded)}")
            name = f"{type(self).__name__}'s {split} split"
            tensors = checked(name, loaded[split], self.feature_names, self.vocabulary)
            count = len(tensors["inputs"])
            index = torch.arange(first, first + count)
            splits[split] = {**tensors, "index": index, "view": torch.zeros(count, dtype=torch.int64)}
            first += count
        self._describe(splits)
        counts = {split: len(tensors["index"]) for split, tensors in splits.items()}
        check_sample_names(type(self).__name__, counts, self.sample_names)
        self.splits = splits

    def arranged(self, seed: int, labelled: int | None = None, transfer: bool = True) -> Self:
        """Return a light copy for one run; it shares the tensors.

        Args:
            seed: Orders the training batches, together with the epoch, and draws the labelled subset. A larger subset
                of the same seed contains a smaller one.
            labelled: How many training samples keep their label, stratified, at least one of each class where the
                number allows; the others' target becomes -1. None: all.
            transfer: Whether unlabelled samples stay in the batches. If not, the labelled ones are cycled, in a new
                order each pass, for the same number of batches: all arms of a comparison take equal optimiser steps.

        Raises:
            ValueError: If fewer labels exist than asked for, or none remain without ``transfer``.
        """
        self.setup()
        arranged = copy.copy(self)
        arranged.trainer = None
        arranged._seed = seed
        train = self.splits["train"]
        target = train["target"] if labelled is None else self._with_labels(train["target"], seed, labelled)
        arranged.splits = {**self.splits, "train": {**train, "target": target}}
        if not transfer:
            arranged._rows = (target >= 0).nonzero().flatten()
            if not len(arranged._rows):
                raise ValueError("no labelled training sample is left to train on; raise labelled or allow transfer")
        return arranged

    def train_dataloader(self) -> ShuffledLoader:
        """Return shuffled whole batches."""
        self.setup()
        train = self.splits["train"]
        if self.augment is not None:
            train = {name: tensor for name, tensor in train.items() if name != "view"}
        return ShuffledLoader(train, self.batch_size, self._seed, self._rows, self.augment)

    def val_dataloader(self) -> TensorLoader:
        """Return the validation split, each sample once, in order."""
        self.setup()
        return TensorLoader(self.splits["val"], self.evaluation_batch_size)

    def test_dataloader(self) -> TensorLoader:
        """Return the test split, each sample once, in order."""
        self.setup()
        return TensorLoader(self.splits["test"], self.evaluation_batch_size)

    def probe(self, count: int, split: str = "val") -> dict[str, Tensor]:
        """Return ``count`` samples of a split, stratified, the same for every run; all of them if there are fewer."""
        self.setup()
        tensors = self.splits[split]
        rows = stratified_order(tensors["target"], generator_at("probe", self.split_seed))[:count]
        return take(tensors, rows.sort().values)

    def every_batch(self, splits: Sequence[str] = SPLITS) -> Iterator[dict[str, Tensor]]:
        """Yield every sample of these splits once, in order and not augmented, all of them in every process.

        A teacher's soft labels and maps are made from these; a loader would give each process its share.
        """
        self.setup()
        size = self.evaluation_batch_size
        for split in splits:
            count = len(self.splits[split]["index"])
            for first in range(0, count, size):
                yield take(self.splits[split], torch.arange(first, min(first + size, count)))

    @property
    def lightning(self) -> Self:
        """The data module itself: it is Lightning's and kdlab's."""
        return self

    @property
    def description(self) -> Description:
        """What is known of the data."""
        self.setup()
        counts = {split: len(tensors["index"]) for split, tensors in self.splits.items()}
        return Description(
            classes=self.classes,
            shape=self.shape,
            class_names=self.class_names,
            feature_names=self.feature_names,
            preparation=self.preparation,
            baseline=self.baseline,
            remarks=self.remarks,
            targets={split: tensors["target"] for split, tensors in self.splits.items()},
            sample_names=SampleNames(counts, self.sample_names),
            vocabulary=self.vocabulary,
            masked=all("mask" in self.splits[split] for split in ("val", "test")),
        )

    @property
    def samples(self) -> int:
        """How many samples there are in all splits; ``index`` runs from 0 to one less."""
        self.setup()
        return sum(len(self.splits[split]["index"]) for split in SPLITS)

    @property
    def class_weights(self) -> Tensor:
        """Weights (classes,) of which the labelled training samples have the mean 1, and each class the same sum.

        A class without a labelled training sample weighs 0.
        """
        self.setup()
        target = self.splits["train"]["target"]
        counts = target[target >= 0].bincount(minlength=self.classes)
        return torch.where(counts > 0, counts.sum() / (counts.clamp(min=1) * (counts > 0).sum()), 0.0)

    @property
    def evaluation_batch_size(self) -> int:
        """How many samples a batch has that is not trained on."""
        self.setup()
        return max(self.batch_size, min(self.batch_size * SCORED, CACHED // math.prod(self.shape)))

    def content_hash(self) -> str:
        """Return the SHA-256 of all that reaches a stage, as 64 hexadecimal digits.

        That is every tensor with its name, type and shape, the baseline, the size of the vocabulary where there is one,
        and the names of classes, features, samples.
        """
        self.setup()
        digest = hashlib.sha256()
        digest.update(json.dumps([self.class_names, self.feature_names, self.classes]).encode())
        if self.sample_names is not None:
            digest.update(json.dumps(self.sample_names, sort_keys=True).encode())
        if self.vocabulary is not None:
            digest.update(f"vocabulary {self.vocabulary}\n".encode())
        digest.update(f"{self.baseline.dtype} {tuple(self.baseline.shape)}\n".encode())
        digest.update(self.baseline.contiguous().view(torch.uint8).numpy().data)
        for split in SPLITS:
            for name, tensor in sorted(self.splits[split].items()):
                digest.update(f"{split} {name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
                digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def _with_labels(self, target: Tensor, seed: int, labelled: int) -> Tensor:
        labelled_rows = (target >= 0).nonzero().flatten()
        if not 0 <= labelled <= len(labelled_rows):
            raise ValueError(
                f"labelled must be between 0 and the {len(labelled_rows)} labelled training samples, got {labelled}"
            )
        kept = labelled_rows[stratified_order(target[labelled_rows], generator_at("labelled", seed))[:labelled]]
        return torch.full_like(target, -1).index_copy(0, kept, target[kept])

    def _describe(self, splits: dict[str, dict[str, Tensor]]) -> None:
        shapes = {split: tuple(splits[split]["inputs"].shape[1:]) for split in SPLITS}
        if len(set(shapes.values())) != 1:
            raise ValueError(f"{type(self).__name__} has inputs of different shapes: {shapes}")
        target = torch.cat([splits[split]["target"] for split in SPLITS])
        classes = int(target.max()) + 1
        if not self.class_names:
            absent = sorted(set(range(classes)) - set(target.tolist()))
            if absent:
                raise ValueError(f"no sample of classes {absent[:10]}: class numbers must be 0 .. classes - 1")
            self.class_names = [str(number) for number in range(classes)]
        if int(target.min()) < -1 or classes > len(self.class_names) or len(self.class_names) < 2:
            raise ValueError(
                f"targets {int(target.min())} .. {classes - 1} do not fit the {len(self.class_names)} classes"
                f" {self.class_names[:10]}; a target is a class number, or -1 for unlabelled, and two classes the least"
            )
        self.classes, self.shape = len(self.class_names), shapes["train"]
        self.baseline = self.baseline_of(splits["train"]["inputs"])
