"""A teacher's logits for every sample, in memory or in a file that names its owner and is checked before it is used."""

import hashlib
import json
import mmap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy
import torch
from torch import Tensor

from kdlab.records.files import replacing

#: Tables of up to this many bytes are kept on the accelerator; larger ones are read from the file row by row.
RESIDENT_BYTES = 512 * 2**20
#: On a CPU the limit is lower, since reading from the file costs little more there.
HELD_BYTES = 32 * 2**20
#: After this many bytes, written pages are released from memory; a page that was written to only in part counts whole.
WRITTEN_BYTES, PAGE = 16 * 2**20, 4096
HALF, SINGLE = "float16", "float32"


@dataclass(frozen=True)
class Cache:
    """How much of a teacher's logits is kept.

    In ``float16`` a logit z is off by at most ``2^-11 |z|``. With ``top_k``, the k largest logits are kept, and one
    value that stands for each other class: ``log(mean of exp(z) over the other classes)``. At temperature 1 the k
    probabilities and the sum of the others are then exactly the teacher's. Only the differences among the others are
    lost, so that at a temperature above 1 their sum is at least the teacher's.

    Args:
        top_k: how many classes of each sample keep their own logit, >= 1; None keeps all.
        dtype: ``float16`` or ``float32``; None keeps the type of the logits.

    Raises:
        ValueError: If top_k is below 1, or dtype is neither of the two.
    """

    top_k: int | None = None
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}")
        if self.dtype not in (None, HALF, SINGLE):
            raise ValueError(f"dtype must be {HALF} or {SINGLE}, got {self.dtype!r}")

    @property
    def exact(self) -> bool:
        """Whether the kept logits equal the teacher's in single precision."""
        return self.top_k is None and self.dtype != HALF

    @property
    def name(self) -> str:
        """The part of a file's name that tells this kind from others of the same teacher; empty for whole logits."""
        kept = [] if self.top_k is None else [f"top{self.top_k}"]
        return "-".join([*kept, *([] if self.dtype is None else [self.dtype])])

    def coded(self, logits: Tensor) -> dict[str, Tensor]:
        """Return what is kept of logits (batch, classes): ``logit``, and with top_k also ``class`` and ``rest``."""
        kind = {None: logits.dtype, HALF: torch.float16, SINGLE: torch.float32}[self.dtype]
        if self.top_k is None or self.top_k >= logits.shape[1]:
            return {"logit": logits.to(kind)}
        largest, classes = logits.topk(self.top_k, dim=1)
        others = logits.scatter(1, classes, -torch.inf).double().logsumexp(dim=1)
        shared = others - torch.tensor(float(logits.shape[1] - self.top_k)).double().log()
        return {"logit": largest.to(kind), "class": classes.int(), "rest": shared.to(kind)[:, None]}


def decoded(kept: Mapping[str, Tensor], classes: int) -> Tensor:
    """Return logits (batch, classes), of at least float32, from what ``Cache.coded`` kept."""
    logit = kept["logit"].float() if kept["logit"].dtype == torch.float16 else kept["logit"]
    if "class" not in kept:
        return logit
    return kept["rest"].to(logit.dtype).expand(-1, classes).scatter(1, kept["class"].long(), logit)


class Rows(Protocol):
    """A place from which rows of a table can be read."""

    def read(self, row: Tensor) -> dict[str, Tensor]:
        """Return the columns of the given rows (batch,)."""
        ...


class InMemory:
    """A table in memory, on any device."""

    def __init__(self, columns: Mapping[str, Tensor]) -> None:
        self.columns = dict(columns)

    def read(self, row: Tensor) -> dict[str, Tensor]:
        """Return the columns of the given rows (batch,)."""
        return {name: column.index_select(0, row.to(column.device)) for name, column in self.columns.items()}

    def to(self, device: torch.device) -> "InMemory":
        """Return the same table on another device."""
        return InMemory({name: column.to(device) for name, column in self.columns.items()})


class Mapped:
    """A table in a ``.npy`` file. The pages read for a batch are released after it, so memory use does not grow."""

    def __init__(self, path: Path) -> None:
        whole = numpy.lib.format.open_memmap(path, mode="r")
        self.path, self.bytes, self.count = path, whole.nbytes, len(whole)
        with path.open("rb") as file:  # the map stays valid when this file is closed or replaced by another
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        table = numpy.frombuffer(self._map, whole.dtype, offset=whole.offset).reshape(whole.shape)
        self._columns = {name: table[name] for name in table.dtype.names or ()} or {"logit": table}

    def __deepcopy__(self, memo: object) -> "Mapped":
        """Return this object itself, since nothing in it ever changes."""
        return self

    def __reduce__(self) -> tuple[type["Mapped"], tuple[Path]]:
        """Send only the path to another process, which then opens the file itself."""
        return Mapped, (self.path,)

    def read(self, row: Tensor) -> dict[str, Tensor]:
        """Return the columns of the given rows (batch,)."""
        rows = row.cpu().numpy()
        if (rows < 0).any():  # numpy would count them from the end
            raise IndexError(f"row {rows.min()} is not in a table of {self.count}")
        return self._some(rows)

    def held(self, device: torch.device | None = None) -> InMemory:
        """Return the whole table in memory, on a device, copied piece by piece."""
        pieces = [self._some(slice(start, start + 2**14)) for start in range(0, self.count, 2**14)]
        return InMemory({name: torch.cat([piece[name].to(device) for piece in pieces]) for name in self._columns})

    def _some(self, rows: Any) -> dict[str, Tensor]:  # noqa: ANN401  numpy's index
        columns = {name: torch.from_numpy(numpy.array(column[rows])) for name, column in self._columns.items()}
        self._map.madvise(mmap.MADV_DONTNEED)
        return columns


class SoftLabels:
    """Logits looked up by (index, view), in row ``index * views + view`` of a table (samples * views, classes).

    Args:
        table: the logits, in memory.
        views: how many fixed views each sample has.
    """

    def __init__(self, table: Tensor, views: int = 1) -> None:
        self._rows: Rows = InMemory({"logit": table})
        self._on_disk: Mapped | None = None
        self._views, self._classes, self.exact = views, table.shape[1], True

    @classmethod
    def load(cls, path: Path, owner: Mapping[str, str], cache: Cache = Cache()) -> Self | None:
        """Return the opened file, or None if it is missing, damaged, or of another owner (teacher, data) or cache."""
        described = path.with_suffix(".json")
        if not path.is_file() or not described.is_file():
            return None
        try:
            about = json.loads(described.read_text())
            if about["owner"] != {**owner, "cache": cache.name} or about["sha256"] != _digest(path):
                return None
            return cls._opened(path, int(about["views"]), int(about["classes"]), cache)
        except (ValueError, KeyError, EOFError):  # a damaged description: the labels are computed again
            return None

    @classmethod
    def write(
        cls,
        path: Path,
        batches: Iterable[tuple[Tensor, Tensor]],
        rows: int,
        owner: Mapping[str, str],
        cache: Cache = Cache(),
        views: int = 1,
    ) -> Self:
        """Write the table batch by batch and then its description, each in one atomic step, and return it opened.

        Args:
            path: a ``.npy`` file; the description is a ``.json`` file beside it.
            batches: pairs of rows (batch,) and logits (batch, classes), with each row once, in any order.
            rows: how many rows there are.
            owner: names the teacher and the data, so that no other stage takes the file for its own.
            cache: how much of the logits is kept.
            views: how many fixed views each sample has.

        Raises:
            ValueError: If a row is missing or occurs twice, or a kept logit is not finite.
        """
        seen, classes, table = torch.zeros(rows, dtype=torch.int32), 0, _Written(rows)
        with replacing(path) as scratch:
            for row, logits in batches:
                kept = cache.coded(logits.detach().cpu())
                if not all(bool(torch.isfinite(part).all()) for part in kept.values()):
                    raise ValueError(
                        f"the teacher's logits hold values that are not finite as {kept['logit'].dtype} "
                        f"({path.parent.name}); train it again, or keep them in float32"
                    )
                _note(seen, row.cpu())
                table.put(scratch, row.cpu(), kept)
                classes = logits.shape[1]
            _check_complete(seen)
            table.close()
            digest = _digest(scratch)
        about = {"owner": {**owner, "cache": cache.name}, "sha256": digest, "views": views, "classes": classes}
        with replacing(path.with_suffix(".json")) as scratch:
            scratch.write_text(json.dumps(about))
        return cls._opened(path, views, classes, cache)

    @classmethod
    def _opened(cls, path: Path, views: int, classes: int, cache: Cache) -> Self:
        labels = cls(torch.zeros(0, classes), views)
        labels._on_disk, labels.exact = Mapped(path), cache.exact
        labels.to("cpu")
        return labels

    def rows(self, index: Tensor, view: Tensor) -> Tensor:
        """Return the logits (batch, classes) of these samples and views, on the device of ``index``.

        Raises:
            IndexError: If a sample or view is not in the table, because the loader counts differently from the cache.
        """
        kept = self._rows.read(index * self._views + view)
        return decoded({name: part.to(index.device) for name, part in kept.items()}, self._classes)

    def to(self, device: torch.device | str) -> Self:
        """Move the table to a device if it is small enough; a larger one is read from its file. Return this object."""
        place, disk = torch.device(device), self._on_disk
        if disk is None:
            size = sum(part.nbytes for part in self._rows.columns.values()) if isinstance(self._rows, InMemory) else 0
            if isinstance(self._rows, InMemory) and size <= RESIDENT_BYTES:
                self._rows = self._rows.to(place)
        elif disk.bytes <= (HELD_BYTES if place.type == "cpu" else RESIDENT_BYTES):
            self._rows = disk.held(place)
        else:
            self._rows = disk
        return self


class _Written:
    """A ``.npy`` file that is being written, with only a limited part of it in memory."""

    def __init__(self, rows: int) -> None:
        self._count, self._touched = rows, 0
        self._table: numpy.memmap[Any, Any] | None = None

    def put(self, scratch: Path, row: Tensor, kept: Mapping[str, Tensor]) -> None:
        """Write the kept columns to the given rows (batch,)."""
        parts = {name: part.numpy() for name, part in kept.items()}
        if self._table is None:
            kinds = [(name, part.dtype, part.shape[1:]) for name, part in parts.items()]
            shape: tuple[int, ...] = (self._count,)
            whole = parts["logit"]
            kind = numpy.dtype(kinds) if len(kinds) > 1 else whole.dtype
            shape = shape if len(kinds) > 1 else (self._count, *whole.shape[1:])
            self._table = numpy.lib.format.open_memmap(scratch, mode="w+", dtype=kind, shape=shape)
        elif self._touched > WRITTEN_BYTES:  # dropping the map releases its pages, whose content is in the file
            self._table, self._touched = None, 0
            self._table = numpy.lib.format.open_memmap(scratch, mode="r+")
        places = row.numpy()
        for name, part in parts.items():
            (self._table[name] if len(parts) > 1 else self._table)[places] = part
        self._touched += len(places) * max(PAGE, sum(part[:1].nbytes for part in parts.values()))

    def close(self) -> None:
        """Write everything to the file and release it."""
        if self._table is not None:
            self._table.flush()
        self._table = None


def gather(logits: Iterable[tuple[Tensor, Tensor]], samples: int) -> Tensor:
    """Return pairs (index, logits) as one table in index order; a ValueError if a sample is not there exactly once."""
    table: Tensor | None = None
    seen = torch.zeros(samples, dtype=torch.int32)
    for index, values in logits:
        values, index = values.cpu(), index.cpu()
        table = values.new_zeros(samples, values.shape[1]) if table is None else table
        _note(seen, index)
        table[index] = values
    _check_complete(seen)
    return torch.zeros(0, 0) if table is None else table


def _note(seen: Tensor, index: Tensor) -> None:
    # Not += on seen[index], which would count a sample only once if it occurs twice in this batch.
    seen.index_add_(0, index, torch.ones(len(index), dtype=seen.dtype))


def _check_complete(seen: Tensor) -> None:
    if not len(seen) or not bool((seen == 1).all()):
        raise ValueError(f"soft labels need every sample once; {int((seen != 1).sum())} of {len(seen)} are not")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
