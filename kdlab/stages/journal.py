"""The log of a stage's training, on disk."""

import json
import os
from time import time_ns
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from kdlab.records.stage_folder import StageFolder


class Journal(Logger):
    """Lightning's logger into ``metrics.jsonl``: one JSON object for each logged point, with the time of logging."""

    def __init__(self, folder: StageFolder) -> None:
        super().__init__()
        self._path = folder.journal

    @property
    def name(self) -> str:
        """The folder's name, because Lightning asks for one."""
        return self._path.parent.name

    @property
    def version(self) -> str:
        """The only version."""
        return "0"

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  Lightning's signature
        """Do nothing, because the hyperparameters are in ``stage.json``."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append the values as one line."""
        # Lightning puts the epoch among the metrics.
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        if not values:
            return
        line = {"time": time_ns() // 10**6, "step": step, "epoch": int(metrics.get("epoch", 0)), "metrics": values}
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def of_epoch(self, epoch: int) -> tuple[int, dict[str, float]]:
        """Return the step of an epoch's last validation, and everything that was logged with its validations."""
        step, metrics = 0, dict[str, float]()
        for line in self._path.read_text(encoding="utf-8").splitlines():
            point = json.loads(line)
            if point["epoch"] == epoch and any(name.startswith("val/") for name in point["metrics"]):
                step, metrics = point["step"], metrics | point["metrics"]
        return step, metrics

    def size(self) -> int:
        """Return the journal's size in bytes, once all of them are safely on the disk."""
        if not self._path.exists():
            return 0
        with self._path.open("rb+") as file:
            os.fsync(file.fileno())
            return file.seek(0, os.SEEK_END)

    @rank_zero_only
    def truncate(self, size: int) -> None:
        """Cut off what was logged after a checkpoint; it will be logged again."""
        if self._path.exists():
            os.truncate(self._path, size)
