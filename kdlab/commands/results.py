"""Commands on what experiments have left in ``mlruns``: report, ui."""

import argparse

from kdlab.commands.experiments import shortened, show_report
from kdlab.configuration.experiment import read_outline
from kdlab.errors import ConfigurationError


def report(parsed: argparse.Namespace) -> None:
    """Write the report of an experiment's newest execution again, and print it.

    Raises:
        ConfigurationError: If the experiment has never been run.
    """
    name, mlruns = read_outline(parsed.file, parsed.set, parsed.quick).name, parsed.mlruns.resolve()
    # Imported late, so that a wrong file is refused before the drawing libraries are loaded.
    from kdlab.records.executions import executions, settle_killed

    settle_killed(mlruns)
    newest = next(executions(mlruns, name), None)
    if newest is None:
        raise ConfigurationError(f"nothing of {name!r} has been run in {mlruns}; run it first: kdlab run {parsed.file}")
    from kdlab.report.report import report as write

    show_report(write(mlruns, name, newest.id), None)


def ui(parsed: argparse.Namespace) -> None:
    """Serve MLflow's pages on the tracking database inside ``mlruns``.

    Raises:
        ConfigurationError: If there is no such folder.
    """
    from kdlab.records.executions import settle_killed
    from kdlab.sweep.tracking import close_abandoned, rebuilt
    from kdlab.tracking.rebuilding import rebuild
    from kdlab.tracking.server import ui as serve

    mlruns = parsed.mlruns.resolve()
    if not mlruns.is_dir():
        raise ConfigurationError(
            f"there is no folder {mlruns}; run an experiment first, such as kdlab run experiments/digits.yaml, or name "
            "another folder with --mlruns"
        )
    settle_killed(mlruns)
    if parsed.rebuild:
        aside = rebuild(mlruns, rebuilt)
        print(f"MLflow's database is made anew; the old one lies in {shortened(aside)}, delete it at will", flush=True)
    serve(mlruns, parsed.port, before=lambda: close_abandoned(mlruns))
