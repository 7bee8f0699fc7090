"""A teacher of which only its soft labels are there, in a file."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from kdlab.data.soft_label_table import SoftLabelTable, names_missing, read
from kdlab.models.estimator import FLOOR

#: Probabilities of ten classes that are written with three decimals sum to 1 within half of this.
TOLERANCE = 0.01


class SoftLabelFile(nn.Module):
    """Soft labels of the data's samples, by name; what no file has is known of no other input.

    Somebody else's model, a service, a committee of people: who or what taught is of no matter. ``Recorded`` is the
    module that holds it. Logits are as they are in the file; of probabilities ``logits = log max(p, 1e-6)``, so that
    ``softmax(logits)`` is p up to the floor and a temperature softens it as that of any teacher. Where a sample has
    probabilities of some classes alone, as of the k largest, the others share what is missing of 1 evenly. The weights
    hold the logits, (samples, classes) in the order of ``index``.

    Args:
        path: A CSV, Parquet or NPZ file as ``kdlab.data.soft_label_table.read`` says, such as ``kdlab soft-labels``
            writes; every sample of the data, in all splits, has a row in it. Rows of other samples are passed over.
        classes: How many there are; the data's.
        sample_names: What the samples are called; the data's.
        class_names: What the classes are called; the data's. Columns of these names are put in their order, else
            columns stand in the order of the class numbers, and are called by them if they have names.
        holds: ``logits`` or ``probabilities``, where the file does not say.
        sample_targets: The class numbers of the samples, -1 where not known; the data's.

    Raises:
        FileNotFoundError, ValueError: If the file is not there or cannot be read, samples are missing, the classes are
            others, samples have other labels than in the data, or probabilities do not sum to 1; it says which.
    """

    logits: Tensor

    def __init__(
        self,
        path: str,
        classes: int,
        sample_names: Sequence[str],
        class_names: Sequence[str] | None = None,
        holds: Literal["logits", "probabilities"] | None = None,
        sample_targets: Tensor | None = None,
    ) -> None:
        super().__init__()
        table = read(path)
        held = _held(path, table, holds)
        missing = names_missing(table, sample_names)
        if missing:
            raise ValueError(
                f"{path} has no soft labels of {len(missing)} of {len(sample_names)} samples, such as {missing[0]!r}; "
                f"it names {table.names[:3]}, and every sample of every split is needed by its own name"
            )
        row = {name: number for number, name in enumerate(table.names)}
        rows = torch.tensor([row[name] for name in sample_names])
        order = _order(path, table, classes, class_names)
        values = torch.from_numpy(table.values)[rows][:, order]
        is_given = None if table.given is None else torch.from_numpy(table.given)[rows][:, order]
        if is_given is not None and held == "logits" and not is_given.all():
            first = int(is_given.all(dim=1).int().argmin())
            raise ValueError(
                f"{path} leaves out logits, as of the sample {sample_names[first]!r}; "
                f"only probabilities can be left out, for they sum to 1"
            )
        if table.labels is not None and sample_targets is not None:
            called = list(map(str, class_names or range(classes)))
            _check_labels(path, [table.labels[number] for number in rows], [*called, ""], sample_targets, sample_names)
        self.path = path
        self.register_buffer(
            "logits", _logs(path, values, sample_names, is_given) if held == "probabilities" else values
        )

    def of_samples(self, index: Tensor) -> Tensor:
        """Return the logits (batch, classes) of samples by their ``index`` (batch,)."""
        return self.logits.index_select(0, index.to(self.logits.device))

    def forward(self, inputs: Tensor) -> Tensor:
        """Refuse: what the teacher would say of these inputs is not known.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"{self.path} holds soft labels of the data's own samples, so their teacher can be asked about no other "
            f"input: it has no layers, explanations or live predictions; use losses of logits, without augment"
        )


def _held(path: str, table: SoftLabelTable, said: str | None) -> str:
    if table.holds is None and said is None:
        raise ValueError(f"{path} does not say what it holds; write holds: logits, or holds: probabilities")
    if table.holds is not None and said is not None and table.holds != said:
        raise ValueError(f"{path} says that it holds {table.holds}, and holds: {said} is written; drop the latter")
    return str(table.holds or said)


def _order(path: str, table: SoftLabelTable, classes: int, class_names: Sequence[str] | None) -> list[int]:
    """Which column is each class's."""
    columns, wanted = table.class_names, list(map(str, class_names or range(classes)))
    if columns is None and table.values.shape[1] == classes:
        return list(range(classes))
    if columns is None or sorted(columns) != sorted(wanted):
        found = f"{table.values.shape[1]} classes" if columns is None else f"the classes {columns[:20]}"
        raise ValueError(f"{path} has {found}, and the data {wanted[:20]}")
    return [columns.index(name) for name in wanted]


def _check_labels(
    path: str, labels: Sequence[str], class_names: Sequence[str], targets: Tensor, names: Sequence[str]
) -> None:
    """Refuse a file whose samples have other labels under the same names; the last class name is that of no label."""
    pairs = zip(labels, (class_names[target] for target in targets.tolist()), strict=True)
    others = [number for number, (label, own) in enumerate(pairs) if label and own and label != own]
    if others:
        label, name = labels[others[0]], names[others[0]]
        raise ValueError(
            f"{path} gives other labels than the data to {len(others)} of {len(names)} samples, such as {label!r} to "
            f"{name!r}: it is of another split; name the samples (row_id of a Table), or write it of these data"
        )


def _logs(path: str, probabilities: Tensor, names: Sequence[str], is_given: Tensor | None) -> Tensor:
    sums = probabilities.double().sum(dim=1)
    some = torch.zeros_like(sums, dtype=torch.bool) if is_given is None else ~is_given.all(dim=1) & is_given.any(dim=1)
    short = (1 - sums > TOLERANCE) & ~some  # of those that leave classes out, these have the rest
    wrong = short | (sums - 1 > TOLERANCE) | (probabilities < 0).any(dim=1)
    if bool(wrong.any()):
        row = int(wrong.int().argmax())
        raise ValueError(
            f"{path}: {int(wrong.sum())} rows are no probabilities, such as {names[row]!r}, which sums to "
            f"{float(sums[row]):.4g} with {float(probabilities[row].min()):.4g} the least; write holds: logits if they "
            f"are logits"
        )
    if is_given is not None:
        rest = (1 - sums).clamp_min(0) / (~is_given).sum(dim=1).clamp_min(1)
        probabilities = torch.where(is_given, probabilities, rest.to(probabilities.dtype)[:, None])
    return probabilities.clamp_min(FLOOR).log()
