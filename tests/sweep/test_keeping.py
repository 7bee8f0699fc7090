"""Which stages of trials are freed: on a study in memory and folders made by hand."""

from pathlib import Path

import optuna

from kdlab.records.files import write_json
from kdlab.sweep.keeping import free_lesser
from kdlab.sweep.study import STAGES
from kdlab.sweep.study_place import place_of
from kdlab.tracking.records import record_of
from tests.stage_folders import begin_stage, complete_stage, write_execution


def test_what_an_open_trial_or_the_best_one_uses_stays(tmp_path: Path) -> None:
    mlruns = tmp_path / "mlruns"
    folders = {}
    for stage in ("best", "lesser", "open", "both"):
        folders[stage] = begin_stage(mlruns, stage)
        complete_stage(folders[stage], files=False)
    study = optuna.create_study(direction="maximize")
    for value, uses in ((0.9, ["best"]), (0.5, ["lesser", "both"]), (None, ["open", "both"])):
        trial = study.ask()
        trial.set_user_attr(STAGES, [folders[stage].name for stage in uses])
        if value is not None:
            study.tell(trial, value)
    place = place_of("made_up", None, mlruns)
    place.folder.mkdir(parents=True)
    free_lesser(study, place, 1)
    assert [stage for stage, folder in folders.items() if folder.exists()] == ["best", "open", "both"]


def test_what_a_plain_run_uses_stays_though_a_lesser_trial_used_it_first(tmp_path: Path) -> None:
    mlruns = tmp_path / "mlruns"
    folders = [begin_stage(mlruns, stage) for stage in ("best", "shared", "lesser")]
    for folder in folders:
        complete_stage(folder, files=False)
    write_execution(mlruns, [folders[1]], experiment="digits")
    write_execution(mlruns, [folders[2]], "trial", experiment="digits sweeps")
    study = optuna.create_study(direction="maximize")
    for value, uses in ((0.9, folders[:1]), (0.5, folders[1:])):
        trial = study.ask()
        trial.set_user_attr(STAGES, [folder.name for folder in uses])
        study.tell(trial, value)
    place = place_of("made_up", None, mlruns)
    place.folder.mkdir(parents=True)
    free_lesser(study, place, 1)
    assert [folder.exists() for folder in folders] == [True, True, False]


def test_what_a_store_has_not_got_yet_stays(tmp_path: Path) -> None:
    mlruns = tmp_path / "mlruns"
    folders = [begin_stage(mlruns, stage) for stage in ("best", "unsent", "sent")]
    for folder in folders:
        complete_stage(folder, files=False)
    for name, folder in (("open", folders[1]), ("told", folders[2])):
        write_json(record_of(mlruns, name), {"folders": {folder.name: {}}})
    (mlruns / "tracking" / "open.open").touch()
    study = optuna.create_study(direction="maximize")
    for value, uses in ((0.9, folders[:1]), (0.5, folders[1:])):
        trial = study.ask()
        trial.set_user_attr(STAGES, [folder.name for folder in uses])
        study.tell(trial, value)
    place = place_of("made_up", None, mlruns)
    place.folder.mkdir(parents=True)
    free_lesser(study, place, 1)
    assert [folder.exists() for folder in folders] == [True, True, False]
