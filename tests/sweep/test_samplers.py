"""How a sweep's sampler is seeded."""

import optuna
from optuna.samplers import RandomSampler, TPESampler

from kdlab.sweep.samplers import Made


def drawn(made: Made, seed: int) -> list[float]:
    study = optuna.create_study(sampler=made.sampler(seed))
    return [study.ask().suggest_float("alpha", 0.0, 1.0) for _ in range(3)]


def test_a_sampler_is_seeded_by_the_file_or_else_by_the_worker() -> None:
    assert drawn(Made(RandomSampler, {"seed": 5}), 1) == drawn(Made(RandomSampler, {"seed": 5}), 2)
    assert drawn(Made(RandomSampler, {"seed": 5}), 1) == drawn(Made(RandomSampler, {}), 5)
    assert drawn(Made(TPESampler, {}), 1) == drawn(Made(TPESampler, {}), 1)
    assert drawn(Made(TPESampler, {"seed": None}), 1) != drawn(Made(TPESampler, {}), 2)
