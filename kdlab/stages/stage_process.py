"""Training one stage on several devices, by a group of child processes that only do what the parent decided.

``python -m kdlab.stages.stage_process REQUEST.json`` is rank 0; Lightning starts the other ranks by the same command.
All of them end with the parent, however it ends: their standard input is a pipe that nobody writes to and whose writing
end only the parent holds. The parent holds the folder's lock. Rank 0, the only one that writes there, holds it too, so
that no other process can begin before rank 0 has ended.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from kdlab.errors import ConfigurationError, Interrupted, StageError
from kdlab.records.files import write_json
from kdlab.stages.options import Options

if TYPE_CHECKING:
    from kdlab.stages.seeded_stage import SeededStage

#: Seconds between two calls of ``on_commit`` while the children train.
PATIENCE = 1.0
INTERRUPTED = 130
ORPHANED = 129


def train_in_group(seeded: "SeededStage", on_commit: Callable[[], None], lock: int) -> None:
    """Train a stage in child processes and show what they commit.

    Args:
        seeded: the stage.
        on_commit: called every second while they train.
        lock: descriptor of the folder's lock, which the caller holds.

    Raises:
        StageError: If the group fails; the message is the last line that it wrote.
        Interrupted: If the group was told to stop.
    """
    folder, experiment = seeded.folder, seeded.experiment
    request, log = folder.path / "request.json", folder.path / "ranks.log"
    parts = {"stage": seeded.stage, "seed": seeded.seed, "file": str(experiment.path.resolve())}
    parts |= {"overrides": list(experiment.overrides), "quick": experiment.quick}
    write_json(request, {**parts, "options": asdict(seeded.options)})
    with log.open("w") as output, lifeline() as line:
        command = [sys.executable, "-m", "kdlab.stages.stage_process", str(request)]
        group = subprocess.Popen(command, stdin=line, stdout=output, stderr=subprocess.STDOUT, pass_fds=(lock,))
        try:
            while group.poll() is None:
                try:
                    group.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    on_commit()
        finally:
            if group.poll() is None:
                group.terminate()
                group.wait()
    if group.returncode == INTERRUPTED:
        raise Interrupted
    if folder.done is None:
        said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] or ["nothing was said"]
        raise StageError(
            f"stage {seeded.stage!r} failed on {seeded.options.devices} devices: {said[-1]} (all of it: {log})"
        )


@contextmanager
def lifeline() -> Iterator[int]:
    """Yield the reading end of a pipe that closes when this block or this process ends."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def end_with_parent() -> None:
    """End this process at once when its standard input ends, whatever it is doing."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        # sys.exit would end this thread only.
        os._exit(ORPHANED)

    Thread(target=wait, name="lifeline", daemon=True).start()


def main(request: Path) -> int:
    """Train the requested stage as one rank, and return the process's exit status."""
    from kdlab.configuration.experiment import read
    from kdlab.stages.context import Context
    from kdlab.stages.training import train

    end_with_parent()
    parts = json.loads(request.read_text())
    options = Options(**parts["options"])
    # JSON has turned the path into text.
    options = replace(options, mlruns=Path(options.mlruns))
    try:
        context = Context(read(Path(parts["file"]), parts["overrides"], parts["quick"]), options)
        train(context.seeded_stage(context.graph.node(parts["stage"], parts["seed"])), lambda: None, [])
    except Interrupted:
        return INTERRUPTED
    except ConfigurationError as error:
        print(error, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
