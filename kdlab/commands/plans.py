"""Say what would be done about each stage, why, and for about how long, by what is in the stage folders."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlab.records.stage_records import Done, StageRecord

if TYPE_CHECKING:
    from kdlab.stages.graph import StageNode


def lines(
    nodes: "Sequence[StageNode]", parameters: Mapping[str, Mapping[str, Any]], experiment: str, stages: Path
) -> Iterator[str]:
    """Yield a line for each stage and seed.

    Args:
        nodes: stages with their seeds, in the order in which they would run.
        parameters: flat parameters by stage, as the experiment has them now.
        experiment: the experiment's name.
        stages: the folder of all stage folders.
    """
    trained_before = [record for record in _records(stages) if record.experiment == experiment]
    width = max((len(node.stage) for node in nodes), default=0)
    for node in nodes:
        same = [record for record in trained_before if record.stage == node.stage]
        said = _said(node, same, parameters[node.stage])
        yield f"{node.stage:{width}}  seed {node.seed:<4} {node.folder.fingerprint}  {said}"


def remark_on_data(name: str) -> str:
    """Return what to say of data whose content is not known; ``name`` is their class."""
    return (
        f"the data ({name}) are known by their settings alone: stages that are finished do not notice other content "
        f"behind the same settings; give the class a method content_hash() -> str, or subclass kdlab's DataModule"
    )


def _said(node: "StageNode", same: list[StageRecord], parameters: Mapping[str, Any]) -> str:
    if node.trained:
        return "reused" if node.tested else "reused, tested again: its evaluation changed or never ended"
    if node.folder.fault is not None:
        return f"trained again: {node.folder.fault}"
    folders = node.folder.path.parent
    seconds = [done.seconds for record in same if (done := Done.read(folders / record.fingerprint)) is not None]
    about = f", about {_duration(seconds[-1])}" if seconds else ""
    if any(node.folder.path.glob("resume.ckpt")):
        return f"goes on where it stopped{about}"
    before = [record for record in same if record.seed == node.seed]
    if not before:
        return f"trained: {'this seed is new' if same else 'new'}{about}"
    return f"trained: {_difference(before[-1].parameters, parameters)}{about}"


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return what changed since a stage was last trained."""
    changed = [
        f"{name} {old.get(name, 'unset')} -> {new.get(name, 'unset')}"
        for name in dict.fromkeys([*old, *new])
        # 1 and 1.0 are equal in Python, but for Lightning they are one batch and all batches.
        if (type(old.get(name)), old.get(name)) != (type(new.get(name)), new.get(name))
    ]
    if not changed:
        return "its teacher, code, data, weights, a file that it names, a library or its monitor's metric changed"
    return ", ".join(changed[:4]) + (f" and {len(changed) - 4} more" if len(changed) > 4 else "")


def _records(stages: Path) -> list[StageRecord]:
    """Return the record of each stage folder, oldest first; damaged ones are left out."""
    records = [StageRecord.read(path.parent) for path in stages.glob("*/stage.json")]
    return sorted((record for record in records if record is not None), key=lambda record: record.created)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
