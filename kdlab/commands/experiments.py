"""Commands on one experiment file: run, plan, rehearse, show."""

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from kdlab.commands.plans import lines, remark_on_data
from kdlab.configuration.experiment import Experiment, read, read_outline
from kdlab.configuration.outline import check_stage_names
from kdlab.errors import ConfigurationError
from kdlab.stages.options import Options

if TYPE_CHECKING:
    from kdlab.report.report import Report


def run(parsed: argparse.Namespace) -> None:
    """Train, evaluate and report every stage; with ``--workers``, several are trained at a time."""
    if parsed.workers > 1:
        run_with_assistants(parsed)
        return
    experiment, options = opened(parsed)
    # Imported late, so that a wrong file is refused before torch and MLflow are loaded.
    import kdlab.stages.run

    outcome = kdlab.stages.run.run(experiment, options)
    show_report(outcome.report, outcome.link)


def run_with_assistants(parsed: argparse.Namespace) -> None:
    """Run an experiment while other processes train some of its stages and seeds.

    Raises:
        ConfigurationError: If several devices are asked for, too.
    """
    from kdlab.workers.machine import shared

    if parsed.devices > 1:
        raise ConfigurationError("--workers and --devices: a stage on several devices trains alone; give one of them")
    machine = shared(parsed.workers, parsed.per_gpu, parsed.accelerator)
    os.environ |= machine.environment(0)  # before torch is loaded, which reads it only once
    experiment, options = opened(parsed)
    import kdlab.stages.run
    from kdlab.stages.assistants import assisted
    from kdlab.stages.context import plan
    from kdlab.workers.crew import arguments

    kdlab.stages.run.check_writable(options.mlruns)
    # Folders are cleared here alone: an assistant told the same would clear what others have trained since.
    for node in plan(experiment, options) if options.fresh else []:
        if node.stage in options.fresh:
            with node.folder.locked():
                node.folder.clear()
    # On the command line ``3,`` is the seed 3, but ``3`` is three seeds.
    seeds = None if options.seeds is None else ",".join([*map(str, options.seeds), ""])
    repeated = {"set": parsed.set, "quick": parsed.quick, "only": parsed.only, "mlruns": options.mlruns}
    repeated |= {"accelerator": parsed.accelerator, "seeds": seeds}
    command = ["kdlab", "assistant", str(parsed.file), *arguments(repeated)]
    with assisted(command, machine, options.mlruns / "sweeps" / "assistants"):
        outcome = kdlab.stages.run.run(experiment, replace(options, fresh=()))
    show_report(outcome.report, outcome.link)


def show_report(report: "Report", link: str | None) -> None:
    """Print the table of a report, its findings, and where more can be seen."""
    from rich.console import Console

    console = Console()
    console.print(report.table)
    for finding in report.findings:
        console.print(f"- {finding}", markup=False, highlight=False)
    print(f"report: {shortened(report.html)}")
    if link is not None:
        print(f"compare the runs: make ui, then {link}")


def shortened(path: Path) -> Path:
    """Return the path relative to the working directory if it lies below it, else as it is."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def plan(parsed: argparse.Namespace) -> None:
    """Print which stages would be trained or reused, why, and about how long that takes."""
    experiment, options = opened(parsed)
    from kdlab.records.executions import settle_killed
    from kdlab.stages.context import Context

    settle_killed(options.mlruns)
    context = Context(experiment, options)
    parameters = {stage: experiment.parameters(stage) for stage in experiment.stages}
    for line in lines(context.plan(), parameters, experiment.name, options.mlruns / "stages"):
        print(line)
    if context.data_hash is None:
        print(remark_on_data(type(context.data.lightning).__name__))


def rehearse(parsed: argparse.Namespace) -> None:
    """Run one batch of every stage and log nothing."""
    experiment, options = opened(parsed)
    from kdlab.stages.rehearsal import rehearse as rehearsed

    for line in rehearsed(experiment, options):
        print(line)


def show(parsed: argparse.Namespace) -> None:
    """Print the experiment with all defaults filled in, as an experiment file that can be run."""
    experiment = read(parsed.file, parsed.set, parsed.quick)
    print(yaml.safe_dump(experiment.resolved, sort_keys=False, allow_unicode=True, width=120), end="")


def opened(parsed: argparse.Namespace) -> tuple[Experiment, Options]:
    """Return the experiment that a command names, and the options of this execution.

    Raises:
        ConfigurationError: If the experiment, an override or an option is wrong.
    """
    options = Options(
        only=tuple(parsed.only),
        fresh=tuple(parsed.fresh),
        seeds=parsed.seeds,
        devices=parsed.devices,
        accelerator=parsed.accelerator,
        mlruns=parsed.mlruns.resolve(),
        quick=parsed.quick,
        debug=parsed.debug,
    )
    overrides = list(parsed.set)
    if options.seeds is not None:
        overrides.append(f"seeds={list(options.seeds)}")
    # Names of stages are checked first, because the form is read without loading torch.
    outlined = read_outline(parsed.file, overrides, parsed.quick)
    check_stage_names(outlined, options.only, "--only")
    check_stage_names(outlined, options.fresh, "--fresh")
    return read(parsed.file, overrides, parsed.quick), options


def assistant(parsed: argparse.Namespace) -> None:
    """Train stages of a run that ``kdlab run --workers`` started."""
    from kdlab.stages.assistants import assist
    from kdlab.sweep.worker import die_with_parent

    die_with_parent()
    assist(*opened(parsed))
