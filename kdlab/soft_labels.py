"""A teacher's logits on disk: one memory-mapped file that says whose they are and is never trusted unchecked."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import numpy
import torch
from torch import Tensor

from kdlab.files import replacing

#: Caches below this size live on the device of the training; larger ones are read from the file row by row.
RESIDENT_BYTES = 512 * 2**20


class SoftLabels:
    """Logits by (index, view): row ``index * views + view`` of a table (samples * views, classes)."""

    def __init__(self, table: Tensor, views: int = 1) -> None:
        self._table = table
        self._views = views

    @classmethod
    def load(cls, path: Path, owner: Mapping[str, str]) -> Self | None:
        """Open the file if it is whole and belongs to this owner (teacher, data); None where it must be made anew."""
        described = path.with_suffix(".json")
        if not path.is_file() or not described.is_file():
            return None
        try:
            about = json.loads(described.read_text())
            if about["owner"] != dict(owner) or about["sha256"] != _digest(path):
                return None
            table = torch.from_numpy(numpy.load(path, mmap_mode="c", allow_pickle=False))
        except (ValueError, KeyError, EOFError):  # damaged: made anew, never used
            return None
        return cls(table, int(about["views"]))

    @classmethod
    def save(cls, path: Path, rows: Tensor, owner: Mapping[str, str], views: int = 1) -> Self:
        """Write the table and its description, each in one atomic step, and open them."""
        table = rows.detach().cpu().contiguous()
        if not bool(torch.isfinite(table).all()):
            raise ValueError(
                f"the teacher's logits hold values that are not finite ({path.parent.name}); train it again"
            )
        with replacing(path) as scratch:
            with scratch.open("wb") as file:
                numpy.save(file, table.numpy(), allow_pickle=False)
            digest = _digest(scratch)
        about = {"owner": dict(owner), "sha256": digest, "views": views, "shape": list(table.shape)}
        with replacing(path.with_suffix(".json")) as scratch:
            scratch.write_text(json.dumps(about))
        return cls(table, views)

    def rows(self, index: Tensor, view: Tensor) -> Tensor:
        """Logits (batch, classes) of these samples, on the device of ``index``.

        Raises:
            IndexError: If a sample or view is not in the table: the loader counts otherwise than the cache.
        """
        row = index * self._views + view
        if self._table.device == row.device:
            return self._table.index_select(0, row)
        return self._table[row.cpu()].to(row.device)

    def to(self, device: torch.device | str) -> Self:
        """Keep the table on the device where it is small enough."""
        if self._table.numel() * self._table.element_size() <= RESIDENT_BYTES:
            self._table = self._table.to(device)
        return self


def gather(logits: Iterable[tuple[Tensor, Tensor]], samples: int) -> Tensor:
    """Put (index, logits) pairs of whole loaders into one table ordered by index; every sample must be there once."""
    table: Tensor | None = None
    seen = torch.zeros(samples, dtype=torch.long)
    for index, values in logits:
        values, index = values.cpu(), index.cpu()
        table = values.new_zeros(samples, values.shape[1]) if table is None else table
        table[index] = values
        seen[index] += 1
    if table is None or not bool((seen == 1).all()):
        raise ValueError(f"soft labels need every sample once; {int((seen != 1).sum())} of {samples} are not")
    return table


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
