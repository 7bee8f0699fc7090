"""What the numbers say, in sentences; a difference that cannot be told from noise is called so."""

from collections.abc import Iterator

from kdlab.report.columns import ACCURACY, Column
from kdlab.report.statistics import Difference
from kdlab.report.summary import MAJORITY, Stage, Summary, teachers_of


def findings(summary: Summary) -> list[str]:
    """Return what the numbers say in plain sentences, the most important first."""
    return [
        *_damaged(summary),
        *_unfinished(summary),
        *_against_baseline(summary),
        *_against_teacher(summary),
        *_twins(summary),
        *_gaps(summary),
        *_unknown_data(summary),
    ]


def notes(summary: Summary) -> list[str]:
    """Return sentences on how the tables are to be read."""
    most = max((stage.finished for stage in summary.stages), default=0)
    lines = []
    if most > 1:
        cut = any(column.is_cut(s.estimate(column.key)) for s in summary.stages for column in summary.columns)
        ends = " Where it would pass an end of the scale, it is cut there and written from–to." if cut else ""
        lines.append(f"± is the 95 % t interval of the mean over seeds.{ends}")
    fixed = [stage.name for stage in summary.stages if stage.teaches and stage.finished == 1]
    if fixed and most > 1:
        teachers, its = ("this teacher", "its") if len(fixed) == 1 else ("these teachers", "their")
        names = ", ".join(fixed)
        lines.append(f"Intervals are given {teachers} ({names}): trained once, {its} own luck is not in them.")
    if summary.largest is not None:
        name, _ = summary.largest
        lines.append(
            f"The {MAJORITY} is the accuracy of always saying {name}, the most frequent class of the test data."
        )
    if any(summary.best(column) for column in summary.columns):
        lines.append(
            "Bold is better than every other stage, teachers apart, by the paired t test after Holm’s correction."
        )
    elif most > 1:
        lines.append("Nothing is bold: no best mean can be told from noise.")
    if any(difference.p is not None for difference in summary.differences.values()):
        lines.append(
            "p is of the paired t test; the verdict uses it after Holm’s correction for all rows of that table."
        )
    return lines


def verdict(difference: Difference, column: Column) -> str:
    """Return whether a stage is better, worse or identical, or why that cannot be said."""
    if difference.identical:
        return "identical in every seed" if difference.estimate.count > 1 else "equal, one seed only"
    if difference.estimate.count < 2:
        return "one seed: cannot be told from noise"
    if not difference.told:
        return "within noise"
    return "better" if (difference.estimate.mean > 0) == column.higher_is_better else "worse"


def p_value(p: float | None) -> str:
    """Return a p value as text, or a dash if there is none."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _against_baseline(summary: Summary) -> Iterator[str]:
    if summary.baseline is None:
        yield "There is no stage that learns without a teacher, so nothing says what the teacher is worth."
        return
    for stage in summary.compared:
        # Its numbers are those of another stage, as `_twins` says.
        if _twin(summary, stage) is not None:
            continue
        said: dict[str, list[str]] = {}
        for column in summary.columns:
            difference = summary.differences.get((stage.name, column.key))
            if difference is not None:
                said.setdefault(SAYING[verdict(difference, column)], []).append(_amount(column, difference))
        if said:
            sentences = "; ".join(f"{saying} {_listed(amounts)}" for saying, amounts in said.items())
            yield f"{stage.name} against {summary.baseline.name}: {sentences}."


SAYING = {
    "better": "better in",
    "worse": "worse in",
    "within noise": "no difference that could be told from noise (corrected for all rows of the table) in",
    "identical in every seed": "identical in every seed in",
    "equal, one seed only": "equal, with one seed only, in",
    "one seed: cannot be told from noise": "with one seed only, too few to tell from noise, in",
}


def _amount(column: Column, difference: Difference) -> str:
    gain = difference.estimate
    if difference.identical:
        return column.phrase
    amount = f"{column.number(gain.mean, sign=True)}{column.unit_of_difference}"
    if gain.half is None:
        return f"{column.phrase} ({amount})"
    return f"{column.phrase} ({amount}, 95 % interval {column.difference(gain)})"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _against_teacher(summary: Summary) -> Iterator[str]:
    teachers = [stage for stage in summary.stages if stage.teaches and stage.estimate(ACCURACY.key).count]
    for teacher, stage in ((teacher, stage) for teacher in teachers for stage in summary.compared):
        accuracy = stage.estimate(ACCURACY.key)
        learns = teachers_of(stage.uses)
        learned = learns & {use.folder.path.name for use in teacher.uses}
        if not accuracy.count or not learned or _twin(summary, stage) is not None:
            continue
        gap = accuracy.mean - teacher.estimate(ACCURACY.key).mean
        name = "its teacher" if teacher.name == "teacher" else f"its teacher {teacher.name}"
        share = _share(stage, teacher)
        apart = ACCURACY.number(abs(gap))
        side = f"{apart} points of accuracy {'above' if gap > 0 else 'below'}"
        yield f"{stage.name} is {'as accurate as' if apart == ACCURACY.number(0.0) else side} {name}{share}."


def _share(stage: Stage, teacher: Stage) -> str:
    own, theirs = stage.estimate("cost/parameters").mean, teacher.estimate("cost/parameters").mean
    # NaN, which is unequal to itself, is a cost that was not measured.
    return f", with {percent(own / theirs)} of its parameters" if own == own and theirs > 0 else ""


def percent(share: float) -> str:
    """Return a share in [0, 1] as text in percent, with two digits or more and never as a power of ten."""
    value = 100 * share
    if value < 0.01:
        return "less than 0.01 %"
    digits = 0 if value >= 9.95 else 1 if value >= 0.995 else 2 if value >= 0.0995 else 3
    return f"{value:,.{digits}f} %".replace(",", "\u202f")


def _twins(summary: Summary) -> Iterator[str]:
    """Yield a sentence on each stage that scores as an earlier one in every seed; usually only an explainer differs."""
    for stage in summary.compared:
        other = _twin(summary, stage)
        if other is not None:
            yield f"{stage.name} scores the same as {other.name} in every seed, so the same holds for it."


def _twin(summary: Summary, stage: Stage) -> Stage | None:
    """Return an earlier stage with equal scores, seed by seed, wherever both have any; None if there is none."""
    for other in summary.compared[: summary.compared.index(stage)]:
        shared = [c.key for c in summary.columns if c.quality and {c.key} <= stage.values.keys() & other.values.keys()]
        if ACCURACY.key in shared and all(stage.values[key] == other.values[key] for key in shared):
            return other
    return None


def _gaps(summary: Summary) -> Iterator[str]:
    for stage in summary.stages:
        for column in summary.columns:
            values = list(stage.values.get(column.key, {}).values())
            missing = sum(value != value for value in values)
            if missing:
                yield f"{stage.name}: {column.phrase} undefined in {missing} of {len(values)} seeds."


def _unknown_data(summary: Summary) -> Iterator[str]:
    """Yield a warning where a stage that is reused may have been trained on other data."""
    records = [stage.record for stage in summary.stages]
    names = {record.unknown_data for record in records if record is not None and record.unknown_data is not None}
    if names:
        yield (
            f"The data ({', '.join(sorted(names))}) are known by their settings alone: a finished stage does not "
            f"notice other content behind the same settings."
        )


def _damaged(summary: Summary) -> Iterator[str]:
    for use in (use for stage in summary.stages for use in stage.uses):
        fault = use.folder.fault
        if fault is not None:
            yield f"{use.stage} seed {use.seed}: {fault}; its numbers are left out, and the next run trains it again."


def _unfinished(summary: Summary) -> Iterator[str]:
    waiting = [f"{stage.name} ({stage.finished} of {len(stage.uses)} seeds)" for stage in summary.stages]
    short = [stage.finished < len(stage.uses) for stage in summary.stages]
    if any(short):
        names = ", ".join(name for name, lacks in zip(waiting, short, strict=True) if lacks)
        yield f"Not everything has been tested yet: {names}."
