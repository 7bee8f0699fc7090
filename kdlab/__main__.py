"""The command line: ``kdlab run experiments/digits.yaml``."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from kdlab.commands import experiments, launchers, listing, look, results, soft_labels, sweeps
from kdlab.errors import ConfigurationError, Interrupted, first_line
from kdlab.tracking.addresses import shown

# Set before torch is loaded, so that its threads sleep while they wait. Threads that spin made the training of a small
# net five times slower where other programs wanted the cores too; on an idle machine, sleeping cost nothing.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

#: Exceptions by which a mistake shows outside the configuration: a missing file, NaN in data, an unknown layer.
MISTAKES = (ValueError, TypeError, LookupError, OSError, ImportError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 after a user's mistake, 130 after a stop such as Ctrl-C."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.command(parsed)
    except (KeyboardInterrupt, Interrupted):
        print("kdlab: stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader, such as `head`, has ended; what is still buffered must not fail when Python closes the output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ConfigurationError as error:
        return _refused(error, parsed.debug)
    except MISTAKES as error:
        return _refused(error, parsed.debug)
    return 0


def _refused(error: Exception, debug: bool) -> int:
    if debug:
        print(shown("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    hint = "" if debug or isinstance(error, ConfigurationError) else "  (--debug shows where)"
    print(f"kdlab: error: {shown(first_line(error))}{hint}", file=sys.stderr)
    return 2


class _Parser(argparse.ArgumentParser):
    """A parser that tells each error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"kdlab: error: {' '.join(message.split())}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="kdlab",
        description="Is the small student as good as its teacher, for the same reasons, and can it say so?",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return command

    for name, command, text in (
        ("run", experiments.run, "train, evaluate and report every stage; finished stages are reused"),
        ("plan", experiments.plan, "say what would be trained or reused, and why"),
        ("rehearse", experiments.rehearse, "run one batch of every stage and log nothing"),
    ):
        stages = add(name, text)
        _add_experiment(stages)
        _add_choices(stages)
        stages.set_defaults(command=command)
        if name == "run":
            stages.add_argument(
                "--workers", type=_count, default=1, metavar="N", help="stages and seeds that train at a time"
            )
            _add_per_gpu(stages)
    show = add("show", "print the experiment with all defaults filled in")
    _add_experiment(show)
    show.set_defaults(command=experiments.show)

    sweep = add("sweep", "search what a sweep's file names, and test the best")
    _add_experiment(sweep, "the sweep, such as experiments/digits.sweep.yaml")
    _add_study(sweep)
    _add_search(sweep)
    sweep.add_argument("--workers", type=_count, metavar="N", help="how many work at it (one, or one a GPU)")
    _add_per_gpu(sweep)
    _add_launcher(sweep)
    sweep.add_argument(
        "--finalists", type=_count, metavar="N", help="best trials that are tested (1; 3 of a Pareto front)"
    )
    sweep.add_argument("--untested", action="store_true", help="leave the best trials untested")
    sweep.set_defaults(command=sweeps.sweep)
    worker = add("worker", "take trials of a sweep, one after the other; sweep starts these, a cluster may as well")
    _add_experiment(worker, "the sweep, such as experiments/digits.sweep.yaml")
    _add_study(worker)
    _add_search(worker)
    for name, kind in (("--until", float), ("--parent", str)):
        worker.add_argument(name, type=kind, help=argparse.SUPPRESS)
    worker.add_argument("--launched", action="store_true", help=argparse.SUPPRESS)
    worker.set_defaults(command=sweeps.worker)
    assistant = commands.add_parser("assistant")  # started by `run --workers`, listed nowhere
    _add_experiment(assistant)
    _add_choices(assistant)
    assistant.set_defaults(command=experiments.assistant, debug=False)
    swept = add("sweep-report", "write the report of a sweep from what its study has")
    _add_experiment(swept, "the sweep, such as experiments/digits.sweep.yaml")
    _add_study(swept)
    swept.set_defaults(command=sweeps.report, accelerator="cpu")
    clean = add("clean", "show what nothing finished refers to and what was deleted in MLflow, and free it")
    clean.add_argument("--free", action="store_true", help="delete it")
    clean.add_argument("--trials", action="store_true", help="stages that only trials of sweeps refer to, too")
    clean.add_argument("--caches", action="store_true", help="cached soft labels, too")
    _add_mlruns(clean)
    clean.set_defaults(command=sweeps.clean)
    dashboard = add("dashboard", "open optuna-dashboard on a sweep's study")
    dashboard.add_argument("file", type=Path, metavar="FILE", help="the sweep, such as experiments/digits.sweep.yaml")
    _add_study(dashboard)
    dashboard.add_argument("--port", type=_port, default=8080, help="port of the pages (%(default)s)")
    dashboard.set_defaults(command=sweeps.dashboard)

    listed = add("list", "list the models, losses, explainers, metrics and data sets there are, with their arguments")
    listed.add_argument("kind", nargs="?", help="one kind alone, such as losses")
    listed.add_argument("--own", type=Path, default=Path("experiments"), help="folder of own modules (%(default)s)")
    listed.set_defaults(command=listing.show)

    looked = add("look", "say what a table, arrays or a folder of images hold, and print the data block that reads it")
    looked.add_argument("path", type=Path, metavar="FILE_OR_FOLDER", help="such as data/credit.csv")
    looked.add_argument("--target", metavar="COLUMN", help="the column or array to predict (guessed)")
    looked.set_defaults(command=look.look)

    soft = add("soft-labels", "write what a finished stage says of every sample to a file that can teach")
    _add_experiment(soft)
    soft.add_argument("stage", metavar="STAGE", help="the stage that teaches")
    soft.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .parquet, .csv or .npz file")
    soft.add_argument("--seed", type=int, metavar="SEED", help="of its seeds this one (the first)")
    soft.add_argument("--probabilities", action="store_true", help="probabilities in place of logits")
    soft.add_argument("--top-k", type=_count, metavar="K", help="probabilities, of each sample the K largest alone")
    soft.add_argument("--accelerator", choices=("cpu", "gpu", "auto"), default="auto", help="kind of device (auto)")
    _add_mlruns(soft)
    soft.set_defaults(command=soft_labels.write_soft_labels)

    report = add("report", "write the report of an experiment from what is in mlruns")
    _add_experiment(report)
    _add_choices(report)
    report.set_defaults(command=results.report)
    ui = add("ui", "open MLflow's pages on mlruns")
    _add_mlruns(ui)
    ui.add_argument("--port", type=_port, default=5000, help="port of the pages (%(default)s)")
    ui.add_argument("--rebuild", action="store_true", help="make MLflow's database anew from the stage folders first")
    ui.set_defaults(command=results.ui)
    return parser


def _add_experiment(
    command: argparse.ArgumentParser, what: str = "the experiment, such as experiments/digits.yaml"
) -> None:
    command.add_argument("file", type=Path, metavar="FILE", help=what)
    command.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="overrides: student.alpha=0.3 seed=1",
    )
    command.add_argument("--quick", action="store_true", help="apply the overrides under the file's key quick")


def _add_per_gpu(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--per-gpu", type=_count, default=1, metavar="N", help="workers that share a GPU (%(default)s)"
    )


def _add_launcher(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--launcher",
        choices=tuple(launchers.LAUNCHERS),
        default="local",
        help="what starts the workers: processes of this machine, or a Ray cluster (%(default)s)",
    )
    command.add_argument("--address", metavar="auto|HOST:PORT", help="the Ray cluster, or RAY_ADDRESS (one of its own)")
    command.add_argument(
        "--gpus-per-trial", type=_part, metavar="PART", help="part of a GPU for each of Ray's workers, such as 0.25 (1)"
    )


def _add_study(command: argparse.ArgumentParser) -> None:
    command.add_argument("--study", metavar="NAME", help="name of the study (the file's)")
    command.add_argument(
        "--storage",
        default=os.environ.get("KDLAB_STORAGE"),
        metavar="URL",
        help="Optuna's storage, or KDLAB_STORAGE (a database inside mlruns)",
    )
    _add_mlruns(command)


def _add_search(command: argparse.ArgumentParser) -> None:
    command.add_argument("--trials", type=_count, metavar="N", help="completed and pruned trials in all (the file's)")
    command.add_argument("--timeout", type=sweeps.seconds, metavar="TIME", help="begin no trial after 90s, 30m or 2h")
    command.add_argument(
        "--keep", default="best:5", metavar="best:N|all", help="trials whose stages are kept (%(default)s)"
    )
    command.add_argument("--accelerator", choices=("cpu", "gpu", "auto"), default="auto", help="kind of device (auto)")


def _add_choices(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--only", type=_names, action="extend", default=[], metavar="STAGE", help="these stages, and those they need"
    )
    command.add_argument(
        "--fresh", type=_names, action="extend", default=[], metavar="STAGE", help="train these stages again"
    )
    command.add_argument("--seeds", type=_seeds, metavar="SEEDS", help="0,1 for these seeds, 3 for how many")
    command.add_argument("--devices", type=_count, default=1, metavar="N", help="devices that train one stage")
    command.add_argument("--accelerator", choices=("cpu", "gpu", "auto"), default="auto", help="kind of device (auto)")
    _add_mlruns(command)


def _add_mlruns(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--mlruns", type=Path, default=Path("mlruns"), metavar="DIR", help="folder of stages and tracking (%(default)s)"
    )


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.replace(",", " ").split())
    if not names:
        raise argparse.ArgumentTypeError(f"expected the name of a stage, got {text!r}; leave it out for all stages")
    return names


def _seeds(text: str) -> tuple[int, ...]:
    numbers = text.replace(",", " ").split()
    if not numbers or not all(number.isdecimal() for number in numbers):
        raise argparse.ArgumentTypeError(f"expected 0,1,2 or how many seeds, got {text!r}")
    if len(numbers) == 1 and "," not in text:
        if int(text) < 1:
            raise argparse.ArgumentTypeError("expected at least one seed; write 0, for seed 0 alone")
        return tuple(range(int(text)))
    return tuple(dict.fromkeys(int(number) for number in numbers))


def _part(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"a trial trains on one GPU or a part of it, such as 0.25, got {text!r}")
    return value


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
