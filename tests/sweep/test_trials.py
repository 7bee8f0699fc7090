"""Trials: what they share, what they record, and what is left of them."""

from argparse import Namespace
from pathlib import Path

import pytest
from optuna import Study

from kdlab.__main__ import main
from kdlab.commands.sweeps import conclude
from kdlab.configuration.experiment import read
from kdlab.errors import ConfigurationError
from kdlab.records.cleaning import leftovers
from kdlab.records.stage_folder import StageFolder
from kdlab.stages.context import plan
from kdlab.stages.options import Options
from kdlab.sweep.best import finalists, write_best
from kdlab.sweep.check import check_sweep
from kdlab.sweep.criteria import Measured
from kdlab.sweep.page import summary, write_page
from kdlab.sweep.ranking import front, ranked
from kdlab.sweep.study import STAGES, feasible, join
from kdlab.sweep.tracking import SweepRun
from kdlab.sweep.trial import sweep_name
from kdlab.tracking.store import Store
from tests.sweep.sweeps import ACCURACY, AGREEMENT, SIZE, opened, states, swept

pytestmark = pytest.mark.usefixtures("one_store")


@pytest.fixture(scope="module")
def first(one_store: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study]:
    folder = tmp_path_factory.mktemp("sweep")
    return folder, swept(folder, 4)


def test_trials_share_the_teacher_and_read_their_value_at_the_chosen_epoch(first: tuple[Path, Study]) -> None:
    folder, study = first
    assert states(study) == ["COMPLETE"] * 4
    used = [trial.user_attrs[STAGES] for trial in study.trials]
    assert len({stages[0] for stages in used}) == 1
    assert len({stages[1] for stages in used}) == 4
    for trial in study.trials:
        student = StageFolder(folder / "mlruns" / "stages" / trial.user_attrs[STAGES][1])
        assert student.done is not None
        assert trial.value == student.done.best
        assert not student.tests()
    assert study.trials[0].params == {"temperature": 2.0, "alpha": 1.0}


def test_every_trial_has_its_run_with_values_and_stages_beneath(first: tuple[Path, Study]) -> None:
    folder, study = first
    store = Store(folder / "mlruns")
    runs = store.client.search_runs([store.experiment("made_up sweeps")], max_results=100)
    (parent,) = [run for run in runs if run.data.tags.get("kind") == "sweep"]
    trials = {run.data.tags["trial"]: run for run in runs if run.data.tags.get("kind") == "trial"}
    assert set(trials) == {"0", "1", "2", "3"}
    for number, run in trials.items():
        trial = study.trials[int(number)]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["state"] == "COMPLETE"
        assert float(run.data.params["alpha"]) == trial.params["alpha"]
        assert run.data.metrics["objective/accuracy"] == trial.value
        below = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == run.info.run_id]
        assert "student" in {r.data.tags["stage"] for r in below}


def test_a_rerun_goes_on_to_the_number_asked_for(first: tuple[Path, Study]) -> None:
    folder, _ = first
    before = states(swept(folder, 4))
    assert len(before) == 4
    assert states(swept(folder, 5)) == ["COMPLETE"] * 5


def test_another_search_under_the_same_name_is_refused(first: tuple[Path, Study], tmp_path: Path) -> None:
    folder, _ = first
    sweep, _, options = opened(tmp_path, objectives={"accuracy": {**ACCURACY, "direction": "minimize"}})
    _, place, _ = opened(folder)
    with pytest.raises(ConfigurationError, match=r"objectives\.accuracy changed since; .* --study made_up-2"):
        join(sweep, place, check_sweep(sweep, options))


def test_the_best_is_written_as_an_experiment_that_reuses_its_stages(first: tuple[Path, Study]) -> None:
    folder, study = first
    sweep, place, _ = opened(folder)
    (best,) = finalists(study, 3)
    assert best.value == study.best_value
    path = write_best(sweep, study, place, best)
    assert path.name == "made_up.best.yaml"
    experiment = read(path)
    assert experiment.seeds == [0, 1]
    assert experiment.value("student.alpha") == best.params["alpha"]
    planned = plan(experiment, Options(mlruns=place.mlruns, accelerator="cpu"))
    trained = {(one.stage, one.seed) for one in planned if one.trained}
    assert {("teacher", 0), ("student", 0)} <= trained


def test_the_page_has_every_figure_and_needs_no_network(first: tuple[Path, Study]) -> None:
    folder, study = first
    sweep, place, _ = opened(folder)
    text = write_page(sweep, study, place).read_text()
    for heading in ("History of accuracy", "accuracy by each setting", "accuracy over temperature and alpha"):
        assert heading in text
    assert "cdn.plot.ly" not in text.split("</style>")[0]
    assert '<script src="http' not in text
    assert "Best: trial" in summary(sweep, study)


def test_several_objectives_give_a_front_and_a_trade_off(tmp_path: Path) -> None:
    search = {"width": {"sets": "student.model.hidden", "choices": {"2": [2], "4": [4], "8": [8], "32": [32]}}}
    objectives = {"agreement": AGREEMENT, "parameters": SIZE}
    sampler = {"class_path": "GridSampler", "init_args": {"search_space": {"width": ["2", "4", "8", "32"]}}}
    study = swept(tmp_path, 4, search=search, objectives=objectives, sampler=sampler)
    sizes = sorted(trial.values[1] for trial in study.trials)
    assert sizes[0] == 64 * 2 + 2 + 2 * 3 + 3
    best = front(study)
    assert best == [t for t in study.trials if t.number in {b.number for b in study.best_trials} and t in best]
    assert ranked(study)[0] in best
    sweep, place, _ = opened(tmp_path, search=search, objectives=objectives, sampler=sampler)
    assert "Pareto front" in write_page(sweep, study, place).read_text()


def test_a_broken_constraint_is_recorded_and_never_best(tmp_path: Path) -> None:
    search = {"width": {"sets": "student.model.hidden", "choices": {"2": [2], "8": [8], "64": [64]}}}
    constraints = {
        "small": {"stage": "student", "metric": "cost/parameters", "at_most": 600},
        "close": {
            "stage": "student",
            "metric": "val/accuracy",
            "at_least": {"stage": "teacher", "metric": "val/accuracy", "plus": -1.0},
        },
    }
    study = swept(tmp_path, 3, search=search, constraints=constraints, start=[{"width": "64"}])
    broken = [trial for trial in study.trials if not feasible(trial)]
    assert {trial.params["width"] for trial in broken} == {"64"}
    assert all(trial.constraints["small"] > 0 >= trial.constraints["close"] for trial in broken)
    assert ranked(study)[0].params["width"] != "64"


def test_a_trial_is_averaged_over_seeds(tmp_path: Path) -> None:
    loss = {"stage": "student", "metric": "val/nll", "direction": "minimize"}
    study = swept(tmp_path, 1, seeds=[0, 1], objectives={"loss": loss})
    folders = [StageFolder(tmp_path / "mlruns" / "stages" / name) for name in study.trials[0].user_attrs[STAGES]]
    students = [folder for folder in folders if folder.record.stage == "student"]
    epochs = [done.epoch for folder in students if (done := folder.done) is not None]
    values = [Measured("student", "val/nll").per_epoch(f)[epoch] for f, epoch in zip(students, epochs, strict=True)]
    assert len(set(values)) == 2
    assert study.trials[0].value == pytest.approx(sum(values) / 2)


def test_stages_of_lesser_trials_are_freed_and_the_best_ones_kept(tmp_path: Path) -> None:
    study = swept(tmp_path, 4, keep=1)
    folders = {path.name for path in (tmp_path / "mlruns" / "stages").iterdir() if path.is_dir()}
    kept = set(ranked(study)[0].user_attrs[STAGES])
    assert folders == kept
    # A kill while one was freed leaves half of it, and no further trial would free the rest.
    (half, *_) = sorted({name for trial in study.trials for name in trial.user_attrs[STAGES]} - kept)
    (tmp_path / "mlruns" / "stages" / half).mkdir()
    (tmp_path / "mlruns" / "stages" / half / "metrics.jsonl").write_text("")
    sweep, place, options = opened(tmp_path)
    parent = SweepRun(place, sweep_name(sweep))
    parent.open()
    conclude(Namespace(finalists=None, untested=True, keep="best:1"), sweep, place, study, options, parent)
    assert {path.name for path in (tmp_path / "mlruns" / "stages").iterdir() if path.is_dir()} == kept


def test_clean_shows_what_nothing_finished_refers_to(
    tmp_path: Path, first: tuple[Path, Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdlab.records.cleaning.YOUNG", -1.0)
    mlruns = first[0] / "mlruns"
    assert not list(leftovers(mlruns, trials=False, caches=False))
    trained = {path.parent.name for path in (mlruns / "stages").glob("*/done.json")}
    assert {one.path.name for one in leftovers(mlruns, trials=True, caches=False)} == trained
    assert {one.path.stem for one in leftovers(mlruns, trials=False, caches=True)} == {"soft_labels"}
    stray = mlruns / "stages" / "stray"
    stray.mkdir()
    (stray / "resume.ckpt").write_bytes(b"x" * 10)
    (one,) = leftovers(mlruns, trials=False, caches=False)
    assert one.free() == 10
    assert not stray.exists()


def test_the_commands_on_a_study_work(
    first: tuple[Path, Study], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, mlruns = str(first[0] / "made_up.sweep.yaml"), ["--mlruns", str(first[0] / "mlruns")]
    assert main(["sweep-report", sweep, *mlruns]) == 0
    assert "made_up-sweep.html" in capsys.readouterr().out
    assert main(["clean", *mlruns]) == 0
    assert capsys.readouterr().out == "nothing to free\n"
    assert main(["sweep-report", sweep, *mlruns, "--study", "another"]) == 2
    assert "there is no study 'another'" in capsys.readouterr().err
    assert main(["sweep", sweep, *mlruns, "--keep", "some"]) == 2
    assert "--keep some: expected best:5" in capsys.readouterr().err
    assert main(["sweep", sweep, *mlruns, "--trials", "4", "--untested", "--accelerator", "cpu"]) == 0
    assert "has its 4 trials; ask for more with --trials" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["sweep", sweep, "--timeout", "2 weeks"])
    assert "expected a time such as 90s, 30m or 2h" in capsys.readouterr().err


def test_a_kill_while_mlflow_makes_its_tables_leaves_no_broken_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (tmp_path / ".new-mlflow.db").write_bytes(b"half of a database")
    assert Store(tmp_path).client.search_experiments()
    assert not (tmp_path / ".new-mlflow.db").exists()
