"""The best stage of each column, where it can be told from noise."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kdlab.report.columns import COLUMNS, Column
from kdlab.report.statistics import Difference, compare, corrected, estimate

#: Test metrics of a stage, as ``values[key][seed]``.
Values = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Duel:
    """The test of the stage with a column's best mean against another stage.

    Attributes:
        column: The column.
        best: The name of the stage with the best mean.
        other: The name of the other stage.
        place: The key of this test among all tests that are corrected together.
        gain: The best stage minus the other one.
    """

    column: Column
    best: str
    other: str
    place: tuple[str, str]
    gain: Difference

    def won(self, tested: Mapping[tuple[str, str], Difference]) -> bool:
        """Return whether the best stage is better than the other one.

        Args:
            tested: All tests that are corrected together, each with its corrected p.
        """
        gain = replace(self.gain, adjusted=tested[self.place].adjusted)
        return gain.told and (gain.estimate.mean > 0) == self.column.higher_is_better


def winners(
    students: Mapping[str, Values], baseline: str | None, found: Mapping[tuple[str, str], Difference]
) -> dict[str, set[str]]:
    """Return the best stages by column: one that is better than every other, and those equal to it in every seed.

    The stage with the best mean is compared with each other stage by the paired t test. Holm's correction counts these
    tests together with those of the comparison, so that nothing wins here that is within noise there. A column is
    absent if one of the other stages cannot be told from the best or shares no seed with it, or if none differs from
    it.

    Args:
        students: Values by stage, without those that teach.
        baseline: The stage that the comparison holds the others against; None if there is none.
        found: The comparison: stage minus baseline, by stage and column.
    """
    columns = [column for column in COLUMNS if column.quality]
    held = {column.key: _duels(students, baseline, column) for column in columns}
    family = {duel.place: duel.gain for duels in held.values() for duel in duels or []} | dict(found)
    tested = corrected(family)
    best: dict[str, set[str]] = {}
    for key, duels in held.items():
        different = [duel for duel in duels or [] if not duel.gain.identical]
        if duels and different and all(duel.won(tested) for duel in different):
            best[key] = {duels[0].best, *(duel.other for duel in duels if duel.gain.identical)}
    return best


def _duels(students: Mapping[str, Values], baseline: str | None, column: Column) -> list[Duel] | None:
    """Return the tests of the best mean against every other; None if it shares no seed with one of them."""
    means = {name: estimate(list(values.get(column.key, {}).values())) for name, values in students.items()}
    sign = 1 if column.higher_is_better else -1
    order = sorted((name for name in means if means[name].count), key=lambda name: -sign * means[name].mean)
    duels = []
    for other in order[1:]:
        best = order[0]
        # A test that the comparison has made already has its place there, and so counts only once.
        stage = best if other == baseline else other if best == baseline else f"{best}\0{other}"
        gain = compare(students[best][column.key], students[other][column.key])
        if gain is None:
            return None
        duels.append(Duel(column, best, other, (stage, column.key), gain))
    return duels
