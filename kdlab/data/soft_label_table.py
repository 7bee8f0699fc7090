"""Soft labels in a file that people and other programs read: CSV, Parquet or NPZ, a row a sample."""

import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from kdlab.data.paths import resolved

Array = np.ndarray[Any, Any]

ID = "id"
#: The class that a sample is known to be of, nothing where nobody knows: so that a file of another split is noticed.
LABEL = "label"
#: Which values an NPZ gives, for arrays have no empty cells.
GIVEN = "given"
#: What the values can be; a file that kdlab writes says so in its columns (``logit:cat``) or its array's name.
HELD = {"logits": "logit", "probabilities": "probability"}
ENDINGS = (".parquet", ".pq", ".csv", ".npz")


@dataclass(frozen=True)
class SoftLabelTable:
    """Soft labels as they stand in a file.

    Args:
        names: Of the samples, a row each.
        class_names: Of the columns; None where the file has none.
        values: (samples, classes), float32.
        holds: ``logits`` or ``probabilities``; None where the file does not say.
        labels: The class of each sample by its name, empty where it is not known; None where the file has none.
        given: (samples, classes), which of the values the file gives, such as the largest of each sample; the others
            are 0 in ``values``. None: all.
    """

    names: list[str]
    class_names: list[str] | None
    values: Array
    holds: str | None
    labels: list[str] | None = None
    given: Array | None = None


def read(path: str) -> SoftLabelTable:
    """Read a file of soft labels.

    A table (CSV or Parquet) has a column ``id``, a column ``label`` if it likes, and a column a class, called by the
    class or ``logit:CLASS`` or ``probability:CLASS``; an empty cell is a value that is not given. An NPZ has ``id``
    (samples,), ``logits`` or ``probabilities`` (samples, classes), and ``class_names`` (classes,), ``label`` (samples,)
    and ``given`` (samples, classes) of truth values if it likes. Objects in it are refused: nothing is unpickled.

    Args:
        path: ``~`` and ``${VARIABLE}`` are expanded.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is none of these, lacks ``id``, or holds what is no number; it says where.
    """
    file = resolved(path)
    ending = file.suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(f"{file} is no file of soft labels by its ending; there are {', '.join(ENDINGS)}")
    try:
        table = _from_npz(file) if ending == ".npz" else _from_table(file, ending)
    except (pa.ArrowException, zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    _check(file, table)
    return table


def write(path: Path, kind: str, table: SoftLabelTable) -> None:
    """Write a file that ``read`` reads to the same bits.

    Args:
        path: Where.
        kind: One of ``ENDINGS``, which decides the format whatever the path is called.
        table: With class names, and ``holds`` said.
    """
    if table.holds is None or table.class_names is None:
        raise ValueError("soft labels are written with the names of their classes, and what they hold")
    labels = {} if table.labels is None else {LABEL: table.labels}
    is_given = np.ones(table.values.shape, dtype=bool) if table.given is None else table.given
    if kind == ".npz":
        arrays = {ID: np.array(table.names), table.holds: table.values, "class_names": np.array(table.class_names)}
        arrays |= {name: np.array(column) for name, column in labels.items()}
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays | ({} if is_given.all() else {GIVEN: is_given}))
        return
    columns = {
        f"{HELD[table.holds]}:{name}": pa.array(table.values[:, n], mask=~is_given[:, n])
        for n, name in enumerate(table.class_names)
    }
    content = pa.table({ID: table.names, **labels, **columns})
    if kind == ".csv":
        pyarrow.csv.write_csv(content, path)
    else:
        pyarrow.parquet.write_table(content, path)


def _from_table(file: Path, ending: str) -> SoftLabelTable:
    # An empty cell says nothing; what says "nan" was computed, and is refused as any value that is not finite.
    cells = pyarrow.csv.ConvertOptions(column_types={ID: pa.string(), LABEL: pa.string()}, null_values=[""])
    table = pyarrow.csv.read_csv(file, convert_options=cells) if ending == ".csv" else pyarrow.parquet.read_table(file)
    columns = list(table.column_names)
    if columns.count(ID) != 1 or len(columns) < 3:
        raise ValueError(f"{file} has the columns {columns[:20]}; one {ID!r} and a column for each class are needed")
    if not table.num_rows:
        raise ValueError(f"{file} has no rows; one row a sample is needed")
    columns.remove(ID)
    labels = [str(label or "") for label in table[LABEL].to_pylist()] if LABEL in columns else None
    columns = [name for name in columns if name != LABEL]
    for name in columns:
        kind = table[name].type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
            raise ValueError(f"{file} holds {kind} in column {name!r}, where numbers are needed")
    names = [str(name) for name in table[ID].to_pylist()]
    cells_of = [table[name].cast(pa.float64()) for name in columns]
    is_given = np.stack([column.is_valid().to_numpy() for column in cells_of], axis=1)
    values = np.stack([column.fill_null(0).to_numpy().astype(np.float32) for column in cells_of], axis=1)
    held = next((held for held, prefix in HELD.items() if all(n.startswith(f"{prefix}:") for n in columns)), None)
    if held is not None:
        columns = [name.removeprefix(f"{HELD[held]}:") for name in columns]
    return SoftLabelTable(names, columns, values, held, labels, None if is_given.all() else is_given)


def _from_npz(file: Path) -> SoftLabelTable:
    # Opened here, because numpy leaves a damaged file open.
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        held = [name for name in HELD if name in arrays.files]
        if ID not in arrays.files or len(held) != 1:
            raise ValueError(f"{file} holds {sorted(arrays.files)}; {ID!r} and one of {sorted(HELD)} are needed")
        names, values = arrays[ID], arrays[held[0]]
        texts = {name: arrays[name].astype(str).tolist() for name in ("class_names", LABEL) if name in arrays.files}
        is_given = arrays[GIVEN].astype(bool) if GIVEN in arrays.files else None
    if values.ndim != 2 or names.shape != values.shape[:1] or values.dtype.kind not in "fiu":
        raise ValueError(
            f"{file} holds {held[0]} of shape {values.shape} and type {values.dtype} beside {ID} of shape "
            f"{names.shape}; numbers (samples, classes) beside (samples,) are needed"
        )
    whose, class_names = names.astype(str).tolist(), texts.get("class_names")
    if is_given is not None and is_given.shape != values.shape:
        raise ValueError(f"{file} holds {GIVEN} of shape {is_given.shape} beside {held[0]} of shape {values.shape}")
    return SoftLabelTable(whose, class_names, values.astype(np.float32), held[0], texts.get(LABEL), is_given)


def _check(file: Path, table: SoftLabelTable) -> None:
    if table.class_names is not None and len(table.class_names) != table.values.shape[1]:
        raise ValueError(
            f"{file} names {len(table.class_names)} classes beside {table.values.shape[1]} columns of {table.holds}"
        )
    if table.labels is not None and len(table.labels) != len(table.names):
        raise ValueError(f"{file} has {len(table.labels)} labels of {len(table.names)} samples")
    finite = np.isfinite(table.values).all(axis=1)
    if not finite.all():
        raise ValueError(f"{file} holds values that are not finite, as for the sample {table.names[finite.argmin()]!r}")
    name, times = Counter(table.names).most_common(1)[0] if table.names else ("", 1)
    if times > 1:
        raise ValueError(f"{file} has the sample {name!r} {times} times; one row a sample is needed")


def names_missing(table: SoftLabelTable, wanted: Sequence[str]) -> list[str]:
    """Return the samples that the file has no row of."""
    there = set(table.names)
    return [name for name in wanted if name not in there]
