"""Anybody's arrays: images, series or a table in NPZ files."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kdlab.data.arrays.labels import as_texts, class_numbers, one_a_sample
from kdlab.data.arrays.layout import Kind, as_inputs, as_mask, channels_last, kind_of
from kdlab.data.arrays.roles import inputs_of, target_of
from kdlab.data.arrays.stored import Arrays
from kdlab.data.augment import Augmentation
from kdlab.data.base import DataModule
from kdlab.data.paths import resolved
from kdlab.data.splitting import sizes_of, take
from kdlab.data.tabular.rows import completed, limited, named, refuse_shared_groups

CLASS_NAMES = ("class_names", "classes", "target_names", "label_names")
FEATURE_NAMES = ("feature_names", "column_names", "columns")


class Npz(DataModule):
    """Arrays of an NPZ file, as ``numpy.savez`` writes it; standardised by the training split, nothing is unpickled.

    Images become (channels, height, width), pixels of 8 or 16 bits 0 .. 1 before they are standardised by channel;
    series become (channels, steps), tables (columns,). Where the names of arrays say splits (``train_images``,
    ``train_labels``, ``test_images`` …), ``images`` and ``labels`` are the names to give. Texts in an array
    ``class_names`` or ``target_names``, and in ``feature_names``, are taken as such; ``remarks`` says so.

    Args:
        path: The file; ``~`` and ``${VARIABLE}`` are expanded, a relative path is relative to the working directory.
        inputs: The array to learn from, a row a sample. None: the only one that can be.
        target: The array to predict: numbers or texts, (samples,) or (samples, 1). None: the only one that can be.
        kind: What the inputs are. None: told where shape and type allow one reading, as for images of bytes.
        channels_last: Whether channels are the last axis, or (False) the one after the samples. None: told from the
            shape where it allows one reading.
        split: An array that says train, val (or validation) or test. Samples for val are drawn from train if none
            are named. None: all drawn at random, stratified, by ``split_seed``.
        fractions: Train, val and test shares where samples are drawn.
        val_path: A second file of the same arrays that is the validation split; needs ``test_path``.
        test_path: A second file of the same arrays that is the test split.
        group: An array that says whom a sample belongs to (a patient, a record): never in two splits.
        row_id: An array that names the samples, no two alike.
        mask: An array of the inputs' shape, other than 0 where a person sees the evidence.
        class_names: Of the classes in the ascending order of their numbers. Empty: the target's values.
        feature_names: Of a table's columns. Empty: the array's name with the column's number, from 0.
        limit: If given, only so many samples are kept (stratified, over all splits), for small runs.
        batch_size: Samples in a batch over all devices together.
        split_seed: Draws the split and the probe.
        augment: Changes training batches at random, for example ``ShiftFlip``.

    Raises:
        ValueError: In the constructor for fractions that do not add up to 1, or two arguments that both say what the
            splits are. In ``setup``, if a file is damaged, there is no such array, several can be meant, lengths
            differ, a value is NaN, objects are pickled, or a target is missing, fractional or of one class.
        FileNotFoundError: In ``setup``, if the file is not there.
    """

    def __init__(
        self,
        path: str,
        inputs: str | None = None,
        target: str | None = None,
        kind: Kind | None = None,
        channels_last: bool | None = None,
        split: str | None = None,
        fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
        val_path: str | None = None,
        test_path: str | None = None,
        group: str | None = None,
        row_id: str | None = None,
        mask: str | None = None,
        class_names: Sequence[str] = (),
        feature_names: Sequence[str] = (),
        limit: int | None = None,
        batch_size: int = 64,
        split_seed: int = 0,
        augment: Augmentation | None = None,
    ) -> None:
        super().__init__(batch_size, split_seed, augment)
        sizes_of(1, fractions)
        if split is not None and test_path is not None:
            raise ValueError(f"{split=} and {test_path=} both say what the test samples are; give one of them")
        if val_path is not None and test_path is None:
            raise ValueError(f"{val_path=} needs test_path, the file that is the test split")
        if limit is not None and limit < 3:
            raise ValueError(f"limit must be at least 3, got {limit}")
        self.path = path
        self.val_path = val_path
        self.test_path = test_path
        self.arrays = {
            "inputs": inputs,
            "target": target,
            "split": split,
            "group": group,
            "row_id": row_id,
            "mask": mask,
        }
        self.kind = kind
        self.channels_last = channels_last
        self.fractions = fractions
        self.limit = limit
        self.told_class_names = list(class_names)
        self.told_feature_names = list(feature_names)

    def load(self) -> dict[str, dict[str, Tensor]]:
        """Read, split, and standardise by the training rows."""
        paths = (None if path is None else resolved(path) for path in (self.val_path, self.test_path))
        arrays = Arrays.opened(resolved(self.path), *paths)
        self.remarks = []
        for argument, name in self.arrays.items():
            if name is not None:
                arrays.require(name, argument)
        inputs = inputs_of(arrays, self.arrays["inputs"])
        tensors = self._inputs(arrays, inputs)
        tensors["target"] = self._target(arrays, inputs)
        rows, groups = self._rows_of_splits(arrays, inputs, tensors["target"])
        self._remark_absent_classes(tensors["target"], rows)
        if (name := self.arrays["row_id"]) is not None:
            ids = _texts(arrays, name, inputs)
            self.sample_names = {split: [ids[row] for row in chosen.tolist()] for split, chosen in rows.items()}
        tensors |= groups
        return self.standardised({split: take(tensors, chosen) for split, chosen in rows.items()})

    def _inputs(self, arrays: Arrays, name: str) -> dict[str, Tensor]:
        """The inputs of all samples, and the mask where there is one."""
        called, header = arrays.called(name), arrays.header(name)
        features = self._feature_names(arrays, called, header.shape)
        kind = kind_of(called, header, "table" if self.kind is None and features else self.kind)
        last = channels_last(called, header.shape, kind, self.channels_last)
        if kind == "table":
            self.feature_names = features or [f"{name}[{column}]" for column in range(header.shape[1])]
        values = arrays.read(name)
        if values.dtype.kind == "f":
            infinite = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
            if infinite.any():
                raise ValueError(
                    f"{called} has NaN or infinite values in {int(infinite.sum())} samples, the first"
                    f" {arrays.place(name, int(infinite.argmax()))}; fill or drop them"
                )
        tensors = {"inputs": as_inputs(values, kind, last)}
        if (mask := self.arrays["mask"]) is not None:
            marked = arrays.read(mask, as_long_as=name)
            tensors["mask"] = as_mask(arrays.called(mask), marked, tensors["inputs"], kind, last)
        return tensors

    def _feature_names(self, arrays: Arrays, called: str, shape: tuple[int, ...]) -> list[str]:
        """The names of a table's columns as told or as the file holds them; none where it is no table or has none."""
        if self.told_feature_names:
            if len(shape) != 2 or self.kind == "series" or len(set(self.told_feature_names)) != shape[1]:
                count = len(set(self.told_feature_names))
                raise ValueError(f"{called} has the shape {shape}; {count} different feature_names are none of a table")
            return self.told_feature_names
        named_columns = arrays.texts(FEATURE_NAMES)
        if named_columns is None or len(shape) != 2 or self.kind == "series" or len(set(named_columns[1])) != shape[1]:
            return []
        self.remarks.append(f"columns are called as array {named_columns[0]!r} says")
        return named_columns[1]

    def _target(self, arrays: Arrays, inputs: str) -> Tensor:
        """The class number of each sample; ``class_names`` is set as told, as the file says, or to the values."""
        name = target_of(arrays, self.arrays["target"], inputs)
        values = arrays.read(name, as_long_as=inputs)
        called = arrays.called(name)
        names, source = self.told_class_names, "class_names"
        named_classes = arrays.texts(CLASS_NAMES)
        numbered = values.dtype.kind not in "US"
        if named_classes is not None and not names and numbered and len(named_classes[1]) != len(values):
            names, source = named_classes[1], f"array {named_classes[0]!r}, unless class_names says otherwise,"
            self.remarks.append(f"classes are called as array {named_classes[0]!r} says")
        target, self.class_names = class_numbers(called, values, names, lambda row: arrays.place(name, row), source)
        return target

    def _rows_of_splits(
        self, arrays: Arrays, inputs: str, target: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The rows of each split, and ``groups`` of all rows where there are any."""
        groups, whom = None, list[str]()
        if (group := self.arrays["group"]) is not None:
            names, codes = np.unique(_texts(arrays, group, inputs), return_inverse=True)
            groups, whom = torch.from_numpy(codes), names.tolist()
        said = arrays.rows(inputs)
        if (split := self.arrays["split"]) is not None:
            if said:
                raise ValueError(f"{arrays.called(split)} and names of arrays both say the splits; leave out split")
            said = named(arrays.called(split), _texts(arrays, split, inputs))
        rows = completed(said, target, self.fractions, self.split_seed, groups)
        if group is not None and groups is not None:
            refuse_shared_groups(arrays.called(group), whom, groups, rows)
        if self.limit is not None:
            rows = limited(rows, target, self.limit, self.split_seed)
        return rows, {} if groups is None else {"groups": groups}

    def _remark_absent_classes(self, target: Tensor, rows: dict[str, Tensor]) -> None:
        for split, chosen in rows.items():
            counts = target[chosen].bincount(minlength=len(self.class_names)).tolist()
            absent = [name for name, count in zip(self.class_names, counts, strict=True) if not count]
            if absent:
                self.remarks.append(f"no sample of {split} is of {', '.join(map(repr, absent[:10]))}")


def _texts(arrays: Arrays, name: str, inputs: str) -> list[str]:
    """The values of an array with one a sample, as texts."""
    called = arrays.called(name)
    values = one_a_sample(called, arrays.read(name, as_long_as=inputs))
    texts = [text.strip() for text in as_texts(called, values).tolist()]
    missing = [row for row, text in enumerate(texts) if text in ("", "nan", "NaT")]
    if missing:
        raise ValueError(f"{called} says nothing of {len(missing)} samples, the first {arrays.place(name, missing[0])}")
    return texts
