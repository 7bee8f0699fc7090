"""Means over an epoch that cost little in each step and survive a resume."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed
from torch import Tensor

#: So many steps are collected before they are added up, so that a step costs one operation instead of five.
FOLD = 64


class EpochMeans:
    """Sums and counts of named scalars, kept on the device, and counts of the steps at which a value was exactly zero.

    It replaces ``self.log``, which takes as long as the step of a small network and whose epoch mean forgets the steps
    before a resume.
    """

    def __init__(self) -> None:
        # One vector for each set of names that occur together; values of the latest steps are not yet added up.
        self._sums: dict[tuple[str, ...], Tensor] = {}
        self._zeros: dict[tuple[str, ...], Tensor] = {}
        self._counts: dict[tuple[str, ...], int] = {}
        self._recent: dict[tuple[str, ...], list[Tensor]] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add one step's values, without waiting for the device."""
        recent = self._recent.setdefault(tuple(values), [])
        recent.append(torch.stack([value.detach() for value in values.values()]))
        if len(recent) == FOLD:
            self._fold()

    def _fold(self) -> None:
        for names, recent in self._recent.items():
            if not recent:
                continue
            steps = torch.stack(recent).double()
            # Step by step, so that the sum does not depend on where a resumed run folded.
            for step in steps:
                self._sums[names] = self._sums[names] + step if names in self._sums else step
            zeros = (steps == 0).double().sum(dim=0)
            self._zeros[names] = self._zeros[names] + zeros if names in self._zeros else zeros
            self._counts[names] = self._counts.get(names, 0) + len(recent)
            recent.clear()

    def compute(self) -> dict[str, float]:
        """Return the mean of each name over its steps and over all processes."""
        return {name: total / count for name, (total, _, count) in self._reduced().items()}

    def totals(self) -> dict[str, float]:
        """Return the sum of each name over its steps and over all processes."""
        return {name: total for name, (total, _, _) in self._reduced().items()}

    def always_zero(self) -> list[str]:
        """Return the names whose value was exactly zero at every step."""
        return [name for name, (_, zeros, count) in self._reduced().items() if zeros == count]

    def reset(self) -> None:
        """Forget all values."""
        self._sums, self._zeros, self._counts, self._recent = {}, {}, {}, {}

    def state_dict(self) -> dict[str, Any]:
        """Return the sums so far, for a checkpoint."""
        self._fold()
        return {"sums": dict(self._sums), "zeros": dict(self._zeros), "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Continue from a ``state_dict``, with its tensors moved to a device."""
        self._sums = {names: value.to(device) for names, value in state["sums"].items()}
        self._zeros = {names: value.to(device) for names, value in state["zeros"].items()}
        self._counts = dict(state["counts"])

    def _reduced(self) -> dict[str, tuple[float, float, float]]:
        self._fold()
        by_name: dict[str, Tensor] = {}
        for names, sums in self._sums.items():
            table = torch.stack((sums, self._zeros[names], torch.full_like(sums, self._counts[names])), dim=1)
            for name, row in zip(names, table, strict=True):
                by_name[name] = by_name[name] + row if name in by_name else row
        if by_name and torch.distributed.is_available() and torch.distributed.is_initialized():
            # Sorted, so that all processes add up the same name at the same place.
            table = torch.stack([by_name[name] for name in sorted(by_name)])
            torch.distributed.all_reduce(table)
            by_name = dict(zip(sorted(by_name), table, strict=True))
        return {name: (row[0].item(), row[1].item(), row[2].item()) for name, row in by_name.items()}
