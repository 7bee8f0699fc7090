"""Intervals over seeds and paired comparisons: small samples, so Student's t throughout."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

LEVEL = 0.95
# A difference can be told from noise if its corrected p is below this.
ALPHA = 0.05


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: The arithmetic mean of all values that are not NaN; NaN if there are none.
        half: Half the width of the 95 % t interval; None for fewer than two values.
        count: The number of values that are not NaN.
    """

    mean: float
    half: float | None
    count: int


@dataclass(frozen=True)
class Difference:
    """Stage minus baseline, over the seeds that both have.

    Attributes:
        estimate: Mean and interval of the differences.
        p: The p of the two-sided paired t test; None if the differences do not vary, so that there is no t.
        adjusted: The same p after Holm's correction for all tests that are corrected together; None before that.
    """

    estimate: Estimate
    p: float | None
    adjusted: float | None = None

    @property
    def identical(self) -> bool:
        """True if the two agree in every seed."""
        return self.estimate.mean == 0 and self.estimate.half in (0, None)

    @property
    def told(self) -> bool:
        """True if the difference can be told from noise: several seeds, and no spread or a corrected p below 0.05."""
        if self.identical or self.estimate.count < 2:
            return False
        return self.p is None or (self.adjusted is not None and self.adjusted < ALPHA)


def estimate(values: Sequence[float]) -> Estimate:
    """Return ``mean ± t(0.975, n - 1) * s / sqrt(n)``, with the sample standard deviation s.

    Values that are NaN are left out.
    """
    from scipy.stats import t

    numbers = [value for value in values if not math.isnan(value)]
    count = len(numbers)
    if count == 0:
        return Estimate(math.nan, None, 0)
    mean = math.fsum(numbers) / count
    if count == 1:
        return Estimate(mean, None, 1)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in numbers) / (count - 1))
    return Estimate(mean, float(t.ppf((1 + LEVEL) / 2, count - 1)) * deviation / math.sqrt(count), count)


def compare(values: Mapping[int, float], baseline: Mapping[int, float]) -> Difference | None:
    """Return the difference of two stages, paired by seed; None if they share no seed.

    Args:
        values: The stage's value by seed.
        baseline: The baseline's value by seed.
    """
    from scipy.stats import t

    shared = sorted(seed for seed in values.keys() & baseline.keys())
    differences = [values[seed] - baseline[seed] for seed in shared]
    gain = estimate(differences)
    if gain.count == 0:
        return None
    # Differences that are equal but for rounding have no spread to test against.
    if gain.half is None or gain.half <= 1e-12 * max(1.0, abs(gain.mean)):
        return Difference(gain, None)
    standard_error = gain.half / float(t.ppf((1 + LEVEL) / 2, gain.count - 1))
    return Difference(gain, 2 * float(t.sf(abs(gain.mean) / standard_error, gain.count - 1)))


def holm(values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number: Holm 1979, https://www.jstor.org/stable/4615733."""
    order = sorted(range(len(values)), key=lambda position: values[position])
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, position in enumerate(order):
        # A larger p must not be corrected to less than a smaller one.
        largest = max(largest, min(1.0, (len(values) - rank) * values[position]))
        adjusted[position] = largest
    return adjusted


def corrected(found: Mapping[tuple[str, str], Difference]) -> dict[tuple[str, str], Difference]:
    """Return the comparisons with their p after Holm's correction for all of them; one without a p stays without."""
    tested = {place: difference.p for place, difference in found.items() if difference.p is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {place: replace(difference, adjusted=adjusted.get(place)) for place, difference in found.items()}


def pareto(points: Mapping[str, Sequence[float]]) -> set[str]:
    """Return the names of the points that no other beats.

    A point beats another if it is at least as high in every coordinate and higher in one. Higher has to be better in
    all coordinates.
    """
    return {
        name
        for name, point in points.items()
        if not any(
            all(theirs >= own for theirs, own in zip(other, point, strict=True)) and tuple(other) != tuple(point)
            for other in points.values()
        )
    }
