"""A sweep file is checked whole, in one line, before any trial."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import create_trial

from kdlab.configuration import experiment_check
from kdlab.errors import ConfigurationError
from kdlab.sweep.best import experiment_of
from kdlab.sweep.check import check_sweep
from kdlab.sweep.definition import read_sweep, sweep_path
from kdlab.sweep.storage import open_storage
from kdlab.sweep.study_place import place_of
from kdlab.workers.crew import arguments
from tests.sweep.sweeps import ACCURACY, AGREEMENT, content, opened, sweep_file

TEMPERATURE = {"sets": "student.temperature", "float": [1.0, 8.0]}
ALPHA = {"sets": "student.alpha", "float": [0.1, 2.0]}
MEASURED = {"stage": "student", "metric": "val/accuracy"}

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"serch": {}}, "a sweep has no key 'serch' (did you mean 'search'?)"),
    ({"search": {}}, "a sweep searches something"),
    ({"search": {"a": {**ALPHA, "sets": "student.alhpa"}}}, "search.a: at a=0.1: --set student.alhpa=0.1"),
    ({"search": {"a": {**ALPHA, "sets": "student.alhpa"}, "b": ALPHA}}, "search.a: at a=0.1"),
    ({"search": {"a": {**ALPHA, "sets": []}}}, "sets names one or several places"),
    ({"search": {"a": {**ALPHA, "float": [2, 1]}}}, "the range is empty: 2 is above 1"),
    ({"search": {"a": {**ALPHA, "float": [0, 1], "log": True}}}, "a logarithmic range starts above 0"),
    ({"search": {"a": {**ALPHA, "int": [0, 1]}}}, "exactly one of float, int, choices, found float, int"),
    ({"search": {"a": {"sets": "student.alpha", "choices": []}}}, "the choices are empty"),
    ({"search": {"a": {**ALPHA, "when": {"b": 1}}}}, "no entry 'b' stands above"),
    ({"search": {"a": ALPHA, "b": ALPHA}}, "student.alpha is set by a already"),
    ({"objectives": {"a": {**ACCURACY, "stage": "studnt"}}}, "there is no stage 'studnt' (did you mean 'student'?)"),
    ({"objectives": {"a": {**ACCURACY, "metric": "test/accuracy"}}}, "a sweep does not touch the test split"),
    ({"objectives": {"a": {**ACCURACY, "direction": "up"}}}, "expected maximize or minimize, got 'up'"),
    ({"objectives": {"a": ACCURACY, "b": AGREEMENT}, "pruner": "MedianPruner"}, "there are several objectives"),
    ({"pruner": "MedianPrunr"}, "Optuna has no pruner 'MedianPrunr' (did you mean 'MedianPruner'?)"),
    ({"sampler": {"class_path": "TPESampler", "init_args": {"sed": 1}}}, "TPESampler has no argument 'sed'"),
    ({"sampler": "builtins.dict"}, "is not"),
    ({"seeds": 9}, "the experiment has 2 seeds, 9 are asked for"),
    ({"start": [{"alpha": 7.0}]}, "7.0 lies outside of what is searched for alpha"),
    ({"constraints": {"c": {"stage": "student", "metric": "val/accuracy"}}}, "one of at_least and at_most"),
    ({"fixed": {"student.alhpa": 1}}, "names nothing in this experiment"),
    ({"trials": 0}, "expected a whole number of at least 1"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, changes: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_sweep(sweep_file(tmp_path, **changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "made_up" in str(caught.value) or "--set" in str(caught.value)


def test_the_experiment_is_checked_whole_once_and_values_where_they_land(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stages = experiment_check.check_experiment, experiment_check.check_stage
    checked: list[str] = []
    monkeypatch.setattr(experiment_check, "check_experiment", lambda d: checked.append("experiment") or whole(d))
    monkeypatch.setattr(experiment_check, "check_stage", lambda s, d: checked.append(s.name) or stages(s, d))
    entries = {"a": ALPHA, "t": {"sets": "student.temperature", "float": [1.0, 8.0]}}
    sweep = read_sweep(sweep_file(tmp_path, search=entries))
    corners = sum(len(sweep.space.overrides(values)) for values in sweep.space.corners())
    assert corners == 8
    assert checked.count("experiment") == 1
    assert checked.count("teacher") == 1
    assert checked.count("student") == 1 + corners


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"objectives": {"a": {**ACCURACY, "metric": "val/acuracy"}}},
            "logs no 'val/acuracy' (did you mean 'val/accuracy'?)",
        ),
        (
            {"search": {"t": {"sets": "student.temperature", "float": [-1.0, 2.0]}}},
            "temperature must be positive",
        ),
        (
            {"constraints": {"c": {"stage": "teacher", "metric": "val/fidelity/agreemnt", "at_least": 0.5}}},
            "constraint 'c': stage 'teacher' logs no",
        ),
        (
            {"constraints": {"c": {**MEASURED, "at_least": {"stage": "teacher", "metric": "val/acuracy"}}}},
            "constraint 'c': stage 'teacher' logs no 'val/acuracy'",
        ),
    ],
)  # fmt: skip
def test_what_only_a_batch_can_tell_is_said_before_any_trial(
    tmp_path: Path, changes: Mapping[str, Any], message: str
) -> None:
    sweep, _, options = opened(tmp_path, **changes)
    with pytest.raises(ConfigurationError) as caught:
        check_sweep(sweep, options)
    assert message in str(caught.value)
    assert not list((tmp_path / "mlruns").glob("stages/*/done.json"))


def test_the_first_trial_has_the_experiments_own_values(tmp_path: Path) -> None:
    sweep, _, _ = opened(tmp_path, start=[{"alpha": 0.5}])
    assert sweep.start == ({"temperature": 2.0, "alpha": 1.0}, {"alpha": 0.5})


def test_own_values_outside_of_the_search_are_left_to_the_sampler(tmp_path: Path) -> None:
    search = {**content()["search"], "alpha": {"sets": "student.alpha", "float": [1.5, 2.0]}}
    assert opened(tmp_path, search=search)[0].start == ({"temperature": 2.0},)


def test_one_value_may_set_two_stages_and_fixed_values_hold_for_all(tmp_path: Path) -> None:
    search = {"T": {"sets": ["student.temperature", "joint.temperature"], "float": [1.0, 8.0]}}
    sweep, _, _ = opened(tmp_path, search=search, fixed={"trainer.max_epochs": 3}, seeds=2)
    experiment = sweep.of({"T": 5.0})
    assert experiment.value("student.temperature") == experiment.value("joint.temperature") == 5.0
    assert experiment.value("student.trainer.max_epochs") == 3
    assert experiment.seeds == [0, 1]


def test_the_command_line_counts_after_what_the_file_fixes(tmp_path: Path) -> None:
    file = sweep_file(tmp_path, fixed={"trainer.max_epochs": 3, "student.alpha": 1.5}, search={"T": TEMPERATURE})
    experiment = read_sweep(file, ["trainer.max_epochs=5"]).of({"T": 5.0})
    assert experiment.value("student.trainer.max_epochs") == 5
    assert experiment.value("student.alpha") == 1.5


def test_the_best_is_tested_on_the_seeds_that_the_command_line_says(tmp_path: Path) -> None:
    sweep = read_sweep(sweep_file(tmp_path, seeds=[100]), ["seeds=[4, 5, 6]"])
    values = {"temperature": 2.0, "alpha": 1.0}
    scales = {name: FloatDistribution(0.1, 8.0) for name in values}
    best = experiment_of(sweep, create_trial(value=0.5, params=values, distributions=scales), "best")
    assert sweep.experiment.seeds == [100]
    assert (best.seeds, best.name) == ([4, 5, 6], "best")


def test_a_class_is_set_before_its_arguments_and_conditional_entries_follow_it(tmp_path: Path) -> None:
    search = {
        "alpha": ALPHA,
        "loss": {"sets": "student.distill.soft.loss", "choices": ["SoftTargets", "LogitMSE"]},
        "temperature": {"sets": "student.temperature", "float": [1.0, 8.0], "when": {"loss": "SoftTargets"}},
    }
    sweep, _, _ = opened(tmp_path, search=search)
    assert [entry.name for entry in sweep.space.entries] == ["loss", "alpha", "temperature"]
    assert sweep.start[0] == {"alpha": 1.0, "loss": "SoftTargets", "temperature": 2.0}
    other = sweep.of({"loss": "LogitMSE", "alpha": 0.5})
    assert str(other.parameters("student")["student.distill.soft.loss"]) == "LogitMSE"
    assert sweep.of({"loss": "SoftTargets", "temperature": 3.0}).value("student.temperature") == 3.0


def test_whole_numbers_are_searched_in_their_steps(tmp_path: Path) -> None:
    search = {"epochs": {"sets": "student.trainer.max_epochs", "int": [2, 6], "step": 2}}
    (entry,) = opened(tmp_path, search=search)[0].space.entries
    assert entry.distribution == IntDistribution(2, 6, step=2)


def test_choices_may_stand_for_lists_under_short_names(tmp_path: Path) -> None:
    search = {"width": {"sets": "student.model.hidden", "choices": {"narrow": [8], "wide": [16, 16]}}}
    sweep, _, _ = opened(tmp_path, search=search)
    assert sweep.start == ({"width": "narrow"},)
    assert sweep.of({"width": "wide"}).value("student.model.hidden") == [16, 16]


def test_an_experiments_name_finds_the_sweep_beside_it(tmp_path: Path) -> None:
    path = sweep_file(tmp_path)
    assert sweep_path(tmp_path / "made_up.yaml") == path
    path.unlink()
    with pytest.raises(ConfigurationError, match=r"a sweep's file ends in \.sweep\.yaml"):
        sweep_path(tmp_path / "made_up.yaml")


@pytest.mark.parametrize(
    "url",
    ["sqlite:////nowhere/at/all.db", "postgresql+psycopg://me:secret@127.0.0.1:1/none", "nonsense", "magic://x"],
)
def test_a_storage_that_cannot_be_reached_is_one_line_without_its_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be opened") as caught:
        open_storage(place_of("name", url, tmp_path))
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_options_become_a_command_line() -> None:
    assert arguments({"a": 1, "b": None, "c": True, "d": False, "e": ["x=1", "y=2"]}) == [
        "--a", "1", "--c", "--e", "x=1", "--e", "y=2",
    ]  # fmt: skip
