"""The command line: ``kdlab run experiments/digits.yaml``."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from kdlab.commands import experiments, listing, results
from kdlab.configuration.errors import ConfigurationError, first_line
from kdlab.errors import Interrupted

#: How a user's mistake shows outside the configuration: a missing file, NaN in data, a layer that does not exist.
MISTAKES = (ValueError, TypeError, LookupError, OSError, ImportError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0, 2 for a user's mistake, 130 after Ctrl-C."""
    asked = _parser().parse_args(arguments)
    try:
        asked.command(asked)
    except (KeyboardInterrupt, Interrupted):
        print("kdlab: stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever reads the output has enough, such as `head`; what is left must not fail when Python closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ConfigurationError as error:
        return _refused(error, asked.debug)
    except MISTAKES as error:
        return _refused(error, asked.debug)
    return 0


def _refused(error: Exception, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    hint = "" if debug or isinstance(error, ConfigurationError) else "  (--debug shows where)"
    print(f"kdlab: error: {first_line(error)}{hint}", file=sys.stderr)
    return 2


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

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
    show = add("show", "print the experiment with all defaults filled in")
    _add_experiment(show)
    show.set_defaults(command=experiments.show)

    listed = add("list", "list the models, losses, explainers, metrics and data sets there are, with their arguments")
    listed.add_argument("kind", nargs="?", help="one kind alone, such as losses")
    listed.add_argument("--own", type=Path, default=Path("experiments"), help="folder of own modules (%(default)s)")
    listed.set_defaults(command=listing.show)

    report = add("report", "write the report of an experiment from what is in mlruns")
    _add_experiment(report)
    _add_choices(report)
    report.set_defaults(command=results.report)
    ui = add("ui", "open MLflow's pages on mlruns")
    _add_mlruns(ui)
    ui.add_argument("--port", type=int, default=5000, help="port of the pages (%(default)s)")
    ui.set_defaults(command=results.ui)
    return parser


def _add_experiment(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", type=Path, metavar="FILE", help="the experiment, such as experiments/digits.yaml")
    command.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="overrides: student.alpha=0.3 seed=1",
    )
    command.add_argument("--quick", action="store_true", help="apply the overrides under the file's key quick")


def _add_choices(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--only", type=_names, action="extend", default=[], metavar="STAGE", help="these stages, and those they need"
    )
    command.add_argument(
        "--fresh", type=_names, action="extend", default=[], metavar="STAGE", help="train these stages again"
    )
    command.add_argument("--seeds", type=_seeds, metavar="SEEDS", help="0,1 for these seeds, 3 for how many")
    command.add_argument("--devices", type=_devices, default=1, metavar="N", help="devices that train one stage")
    command.add_argument("--accelerator", choices=("cpu", "gpu", "auto"), default="auto", help="kind of device (auto)")
    _add_mlruns(command)


def _add_mlruns(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--mlruns", type=Path, default=Path("mlruns"), metavar="DIR", help="folder of stages and tracking (%(default)s)"
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _seeds(text: str) -> tuple[int, ...]:
    numbers = text.replace(",", " ").split()
    if not numbers or not all(number.isdecimal() for number in numbers):
        raise argparse.ArgumentTypeError(f"expected 0,1,2 or how many seeds, got {text!r}")
    if len(numbers) == 1 and "," not in text:
        if int(text) < 1:
            raise argparse.ArgumentTypeError("expected at least one seed; write 0, for seed 0 alone")
        return tuple(range(int(text)))
    return tuple(dict.fromkeys(int(number) for number in numbers))


def _devices(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
