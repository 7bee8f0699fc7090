"""The table of docs/losses.md, from what `make experiment NAME=losses` left behind.

    python -m benchmarks.loss_table [--mlruns mlruns] [--experiment losses]

Means over seeds with 95 % t intervals; differences to the student alone and to soft targets are paired by seed, and a
star says that the difference of accuracy is larger than noise: p < 0.05 of the paired t test after Holm's correction
for all rows of that column.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from kdlab.report.statistics import Difference, compare, estimate, holm

MEASURES = {
    "accuracy": ("test/accuracy", 100),
    "agreement with the teacher": ("test/fidelity/agreement", 100),
    "cosine of attributions with the teacher's": ("test/explanation/teacher_cosine", 1),
}
#: The value of a measure by stage and seed.
Values = dict[str, dict[int, float]]


def latest(mlruns: Path, experiment: str) -> dict[str, Any]:
    """The last finished execution of the experiment.

    Raises:
        FileNotFoundError: If there is none.
    """
    records = [json.loads(file.read_text()) for file in sorted((mlruns / "executions").glob("*.json"))]
    finished = [one for one in records if one["experiment"] == experiment and one["status"] == "FINISHED"]
    if not finished:
        raise FileNotFoundError(f"no finished execution of {experiment} in {mlruns}; make experiment NAME={experiment}")
    return max(finished, key=lambda record: record["started"])


def read(mlruns: Path, execution: dict[str, Any]) -> dict[str, Values]:
    """Each measure's values."""
    found: dict[str, Values] = {name: {} for name in MEASURES}
    for one in execution["stages"]:
        file = mlruns / "stages" / one["fingerprint"] / f"test-{one['evaluation']}.json"
        metrics = json.loads(file.read_text())["metrics"]
        for name, (key, factor) in MEASURES.items():
            if key in metrics:
                found[name].setdefault(one["stage"], {})[one["seed"]] = factor * metrics[key]
    return found


def differences(values: Values, other: str) -> dict[str, Difference]:
    """Each stage minus another, Holm-corrected; stages with no or equal values left out."""
    compared = {stage: compare(own, values[other]) for stage, own in values.items() if stage != other}
    known = {stage: one for stage, one in compared.items() if one is not None and one.p is not None}
    adjusted = holm([one.p for one in known.values() if one.p is not None])
    return {
        stage: Difference(one.estimate, one.p, value)
        for (stage, one), value in zip(known.items(), adjusted, strict=True)
    }


def cell(values: dict[int, float], digits: int) -> str:
    one = estimate(list(values.values()))
    return f"{one.mean:.{digits}f}" + ("" if one.half is None else f" ± {one.half:.{digits}f}")


def signed(one: Difference | None) -> str:
    if one is None or one.estimate.half is None:
        return "–"
    star = "*" if one.adjusted is not None and one.adjusted < 0.05 else ""
    return f"{one.estimate.mean:+.1f} ± {one.estimate.half:.1f}{star}"


def lines(found: dict[str, Values], alone: str, soft: str) -> list[str]:
    """The table in Markdown."""
    accuracy = found["accuracy"]
    to_alone, to_soft = differences(accuracy, alone), differences(accuracy, soft)
    columns = ["stage", *MEASURES, f"accuracy − {alone}", f"accuracy − {soft}"]
    rows = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for stage in accuracy:
        cells = [
            cell(values[stage], 1 if MEASURES[name][1] == 100 else 3) if stage in values else "–"
            for name, values in found.items()
        ]
        rows.append(f"| {' | '.join([stage, *cells, signed(to_alone.get(stage)), signed(to_soft.get(stage))])} |")
    return rows


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loss_table")
    parser.add_argument("--mlruns", type=Path, default=Path("mlruns"))
    parser.add_argument("--experiment", default="losses")
    parser.add_argument("--alone", default="alone", help="the stage without a teacher")
    parser.add_argument("--soft", default="kd", help="the stage with soft targets")
    arguments = parser.parse_args()
    execution = latest(arguments.mlruns, arguments.experiment)
    print("\n".join(lines(read(arguments.mlruns, execution), arguments.alone, arguments.soft)))


if __name__ == "__main__":
    main()
