"""What a command is asked to do beyond the experiment itself; no option changes a stage's result."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """The options of one execution.

    Args:
        only: stages to run, together with those that they need; empty means all.
        fresh: stages to train again even if a finished one could be reused.
        seeds: seeds that replace those of the experiment; None keeps them.
        devices: how many devices train one stage; a stage that is not trained by steps uses one.
        accelerator: ``cpu``, ``gpu`` or ``auto``, as Lightning's Trainer takes it.
        mlruns: folder of stages, tracking database and artifacts.
        quick: whether the experiment's ``quick`` overrides were applied.
        debug: whether errors show their traceback.
    """

    only: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None
    devices: int = 1
    accelerator: str = "auto"
    mlruns: Path = field(default_factory=lambda: Path("mlruns").resolve())
    quick: bool = False
    debug: bool = False
