"""Reading what a run leaves on disk: stage folders and executions. MLflow and the report are views of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kdlab.records.stage_folder import Record, StageFolder, read_json


@dataclass(frozen=True)
class StageUse:
    """A stage and seed as an execution used it: trained by it, or reused."""

    stage: str
    seed: int
    reused: bool
    folder: StageFolder
    evaluation: str


@dataclass(frozen=True)
class Execution:
    """One call of an experiment: ``mlruns/executions/<id>.json`` and the stage folders it names."""

    id: str
    experiment: str
    status: str
    started: float | str | None
    ended: float | str | None
    evaluation: str
    uses: list[StageUse]
    record: Record = field(repr=False)

    @property
    def stages(self) -> list[str]:
        """Names in the order in which the execution has them."""
        return list(dict.fromkeys(use.stage for use in self.uses))

    def of(self, stage: str) -> list[StageUse]:
        """Return the runs of one stage, by seed."""
        return sorted((use for use in self.uses if use.stage == stage), key=lambda use: use.seed)

    def tested(self, use: StageUse) -> dict[str, float]:
        """Return the test metrics of a run under this execution's evaluation, empty if it has none or is not whole."""
        if use.folder.fault is not None:
            return {}
        record = read_json(use.folder.path / f"test-{use.evaluation}.json") or {}
        return {key: float(value) for key, value in record.get("metrics", {}).items() if value is not None}


def executions(mlruns: Path, experiment: str | None = None) -> Iterator[Execution]:
    """Yield the executions, newest first, of one experiment or of all."""
    found = [read_json(path) for path in (mlruns / "executions").glob("*.json")]
    known = [record for record in found if record and (experiment is None or record.get("experiment") == experiment)]
    for record in sorted(known, key=lambda record: (str(record.get("started")), str(record["id"])), reverse=True):
        yield _execution(mlruns, record)


def read_execution(mlruns: Path, identity: str) -> Execution | None:
    """Return one execution by its id, None if there is no such file."""
    record = read_json(mlruns / "executions" / f"{identity}.json")
    return None if record is None else _execution(mlruns, record)


def _execution(mlruns: Path, record: Record) -> Execution:
    uses = [
        StageUse(
            stage=str(item["stage"]),
            seed=int(item["seed"]),
            reused=bool(item.get("reused")),
            folder=StageFolder(mlruns / "stages" / item["fingerprint"]),
            evaluation=str(item.get("evaluation") or record.get("evaluation", "")),
        )
        for item in record.get("stages", [])
    ]
    return Execution(
        id=str(record["id"]),
        experiment=str(record["experiment"]),
        status=str(record.get("status", "RUNNING")),
        started=record.get("started"),
        ended=record.get("ended"),
        evaluation=str(record.get("evaluation", "")),
        uses=uses,
        record=record,
    )
