"""``kdlab run`` with several workers: assistants train stages and seeds besides it."""

import argparse
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from kdlab.commands import experiments
from kdlab.errors import ConfigurationError

if TYPE_CHECKING:
    from kdlab.stages.options import Options


def run(asked: argparse.Namespace) -> None:
    """Train, evaluate and report every stage, several at a time if asked."""
    if asked.workers == 1:
        experiments.run(asked)
        return
    from kdlab.workers.machine import shared

    if asked.devices > 1:
        raise ConfigurationError("--workers and --devices: a stage on several devices trains alone; give one of them")
    machine = shared(asked.workers, asked.per_gpu, asked.accelerator)
    os.environ |= machine.environment(0)  # before torch is loaded, which reads it
    experiment, options = experiments.opened(asked)
    import kdlab.stages.run
    from kdlab.stages.assistants import assisted
    from kdlab.stages.context import plan
    from kdlab.workers.crew import arguments

    kdlab.stages.run.check_writable(options.mlruns)
    for node in plan(experiment, options) if options.fresh else []:
        if node.stage in options.fresh:
            with node.folder.locked():
                node.folder.clear()
    told = {"set": asked.set, "quick": asked.quick, "only": asked.only, "mlruns": options.mlruns}
    told |= {"accelerator": asked.accelerator, "seeds": _seeds_of(options)}
    command = ["kdlab", "assistant", str(asked.file), *arguments(told)]
    with assisted(command, machine, options.mlruns / "sweeps" / "assistants"):
        outcome = kdlab.stages.run.run(experiment, replace(options, fresh=()))
    experiments.show_report(outcome.report, outcome.link)


def _seeds_of(options: "Options") -> str | None:
    return None if options.seeds is None else ",".join([*map(str, options.seeds), ""])


def assistant(asked: argparse.Namespace) -> None:
    """Train stages of a run that ``kdlab run --workers`` started."""
    from kdlab.stages.assistants import assist
    from kdlab.sweep.worker import die_with_parent

    die_with_parent()
    assist(*experiments.opened(asked))
