"""How a sweep's sampler is seeded."""

import optuna
from optuna.samplers import RandomSampler, TPESampler

from kdlab.sweep.samplers import Made
from kdlab.sweep.study import WORKER
from kdlab.sweep.worker import seed_of


def drawn(made: Made, seed: int) -> list[float]:
    study = optuna.create_study(sampler=made.sampler(seed))
    return [study.ask().suggest_float("alpha", 0.0, 1.0) for _ in range(3)]


def test_a_sampler_is_seeded_by_the_file_or_else_by_the_worker() -> None:
    assert drawn(Made(RandomSampler, {"seed": 5}), 1) == drawn(Made(RandomSampler, {"seed": 5}), 2)
    assert drawn(Made(RandomSampler, {"seed": 5}), 1) == drawn(Made(RandomSampler, {}), 5)
    assert drawn(Made(TPESampler, {}), 1) == drawn(Made(TPESampler, {}), 1)
    assert drawn(Made(TPESampler, {"seed": None}), 1) != drawn(Made(TPESampler, {}), 2)


def test_the_first_worker_draws_the_same_and_no_two_draw_alike() -> None:
    study = optuna.create_study(study_name="seeds")
    assert seed_of(study, "one") == seed_of(study, "two")
    study.add_trial(optuna.trial.create_trial(value=1.0, user_attrs={WORKER: "one"}))
    later = seed_of(study, "one"), seed_of(study, "two")
    assert len({*later, seed_of(optuna.create_study(study_name="seeds"), "one")}) == 3
    # One that goes on does not draw again what it drew.
    study.add_trial(optuna.trial.create_trial(value=1.0, user_attrs={WORKER: "one"}))
    assert seed_of(study, "one") != later[0]
    assert seed_of(optuna.create_study(study_name="others"), "one") != seed_of(
        optuna.create_study(study_name="seeds"), "one"
    )
