"""Commands on one experiment file: run, plan, rehearse, show."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from kdlab.commands.plans import lines, remark_on_data
from kdlab.configuration.experiment import Experiment, read, read_outline
from kdlab.configuration.outline import check_stage_names
from kdlab.stages.options import Options

if TYPE_CHECKING:
    from kdlab.report.report import Report


def run(asked: argparse.Namespace) -> None:
    """Train, evaluate and report every stage."""
    experiment, options = opened(asked)
    # Imported here, so that a wrong file is refused before torch and MLflow are loaded.
    import kdlab.stages.run

    outcome = kdlab.stages.run.run(experiment, options)
    show_report(outcome.report, outcome.link)


def show_report(report: "Report", link: str | None) -> None:
    """Print the table, what it means, and where more is to be seen."""
    from rich.console import Console

    console = Console()
    console.print(report.table)
    for finding in report.findings:
        console.print(f"- {finding}", markup=False, highlight=False)
    print(f"report: {shortened(report.html)}")
    if link is not None:
        print(f"compare the runs: make ui, then {link}")


def shortened(path: Path) -> Path:
    """The path from here where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def plan(asked: argparse.Namespace) -> None:
    """Say what would be trained or reused, why, and for about how long."""
    experiment, options = opened(asked)
    from kdlab.records.executions import settle_killed
    from kdlab.stages.context import Context

    settle_killed(options.mlruns)
    context = Context(experiment, options)
    parameters = {stage: experiment.parameters(stage) for stage in experiment.stages}
    for line in lines(context.plan(), parameters, experiment.name, options.mlruns / "stages"):
        print(line)
    if context.data_hash is None:
        print(remark_on_data(type(context.data).__name__))


def rehearse(asked: argparse.Namespace) -> None:
    """Run one batch of every stage and log nothing."""
    experiment, options = opened(asked)
    from kdlab.stages.rehearsal import rehearse as rehearsed

    for line in rehearsed(experiment, options):
        print(line)


def show(asked: argparse.Namespace) -> None:
    """Print the experiment with all defaults filled in; what is printed is an experiment file again."""
    experiment = read(asked.file, asked.set, asked.quick)
    print(yaml.safe_dump(experiment.resolved, sort_keys=False, allow_unicode=True, width=120), end="")


def opened(asked: argparse.Namespace) -> tuple[Experiment, Options]:
    """The experiment that a command names, and the choices for this execution."""
    options = Options(
        only=tuple(asked.only),
        fresh=tuple(asked.fresh),
        seeds=asked.seeds,
        devices=asked.devices,
        accelerator=asked.accelerator,
        mlruns=asked.mlruns.resolve(),
        quick=asked.quick,
        debug=asked.debug,
    )
    overrides = list(asked.set)
    if options.seeds is not None:
        overrides.append(f"seeds={list(options.seeds)}")
    outlined = read_outline(asked.file, overrides, asked.quick)
    check_stage_names(outlined, options.only, "--only")
    check_stage_names(outlined, options.fresh, "--fresh")
    return read(asked.file, overrides, asked.quick), options
