import shutil
from pathlib import Path

from kdlab.records.stage_records import TestResult
from tests.stage_folders import CREATED, begin_stage, complete_stage, log_epoch, write_execution
from tests.tracking.reading import client_of, files, history, runs, sent, stage_runs, tracked


def test_a_stage_is_one_run_with_its_points_parameters_tests_and_files(mlruns: Path) -> None:
    folder = begin_stage(mlruns)
    tracker = tracked(mlruns)
    complete_stage(folder)
    tracker.sync(folder)
    sent(tracker)
    tracker.finish(folder)
    write_execution(mlruns, [folder])
    tracker.end("FINISHED", "| stage |")
    (run,) = stage_runs(mlruns)
    assert run.info.status == "FINISHED"
    assert run.info.start_time == CREATED
    assert run.info.end_time == CREATED + 10_000
    assert run.data.params == {"student.alpha": "1.0", "trainer.max_epochs": "3"}
    expected = {"stage": "student", "seed": "0", "kind": "Distilled", "execution": "run1", "executions": "run1"}
    assert expected.items() <= run.data.tags.items()
    assert run.data.tags["mlflow.source.git.commit"] == "abc"
    assert run.data.tags["version.torch"] == "2.6"
    assert run.data.tags["epoch"] == "2"
    assert history(mlruns, run) == [(10 * (n + 1), CREATED + 1000 * (n + 1), 0.5 + 0.1 * n) for n in range(3)]
    assert history(mlruns, run, "test/accuracy") == [(0, CREATED + 10_000, 0.9)]
    names = {file.path for place in ("", "weights", "figures", "scores") for file in files(mlruns, run, place)}
    assert {"config.yaml", "explainer.txt", "figures/attributions.png", "scores/scores-e1.npz"} <= names
    assert {name for name in names if name.startswith("weights/")} == {"weights/model.safetensors"}


def test_uncommitted_points_are_not_sent(mlruns: Path) -> None:
    folder = begin_stage(mlruns)
    tracker = tracked(mlruns)
    log_epoch(folder, 0)
    log_epoch(folder, 1, commit=False)
    tracker.sync(folder)
    sent(tracker)
    (run,) = stage_runs(mlruns)
    assert [step for step, _, _ in history(mlruns, run)] == [10]
    assert run.info.status == "RUNNING"
    tracker.end("KILLED")


def test_points_sent_again_after_a_kill_are_not_doubled(mlruns: Path) -> None:
    folder = begin_stage(mlruns)
    tracker = tracked(mlruns)
    log_epoch(folder, 0)
    tracker.sync(folder)
    sent(tracker)
    before = (folder / "tracking.json").read_text()
    log_epoch(folder, 1)
    tracker.sync(folder)
    sent(tracker)
    (folder / "tracking.json").write_text(before)  # killed between sending and remembering
    tracker.end("KILLED")
    again = tracked(mlruns, "run2")
    log_epoch(folder, 2)
    again.sync(folder)
    sent(again)
    (run,) = stage_runs(mlruns)
    assert [step for step, _, _ in history(mlruns, run)] == [10, 20, 30]
    again.end("KILLED")


def test_a_run_that_was_made_but_not_remembered_is_found_again(mlruns: Path) -> None:
    folder = begin_stage(mlruns)
    tracker = tracked(mlruns)
    log_epoch(folder, 0)
    tracker.sync(folder)
    sent(tracker)
    (folder / "tracking.json").unlink()
    tracker.end("KILLED")
    assert len(stage_runs(mlruns)) == 1
    assert len(history(mlruns, stage_runs(mlruns)[0])) == 1


def test_a_resumed_stage_continues_its_run(mlruns: Path) -> None:
    folder = begin_stage(mlruns)
    first = tracked(mlruns)
    log_epoch(folder, 0)
    first.sync(folder)
    sent(first)
    first.finish(folder, "FAILED")
    first.end("FAILED")
    assert stage_runs(mlruns)[0].info.status == "FAILED"
    second = tracked(mlruns, "run2")
    log_epoch(folder, 1)
    second.sync(folder)
    sent(second)
    assert [run.info.status for run in stage_runs(mlruns)] == ["RUNNING"]
    second.end("KILLED")


def test_a_deleted_run_is_made_anew_with_all_points(mlruns: Path) -> None:
    folder = begin_stage(mlruns)
    complete_stage(folder)
    tracker = tracked(mlruns)
    tracker.finish(folder)
    tracker.end()
    (old,) = stage_runs(mlruns)
    client_of(mlruns).delete_run(old.info.run_id)
    again = tracked(mlruns, "run2")
    again.finish(folder)
    again.end()
    (new,) = stage_runs(mlruns)
    assert new.info.run_id != old.info.run_id
    assert len(history(mlruns, new)) == 3
    assert {file.path for file in files(mlruns, new, "weights")} == {"weights/model.safetensors"}


def test_a_deleted_experiment_comes_back(mlruns: Path) -> None:
    tracked(mlruns).end()
    client = client_of(mlruns)
    found = client.get_experiment_by_name("digits")
    assert found is not None
    client.delete_experiment(found.experiment_id)
    folder = begin_stage(mlruns)
    complete_stage(folder)
    tracker = tracked(mlruns, "run2")
    tracker.finish(folder)
    tracker.end()
    assert len(stage_runs(mlruns)) == 1


def test_a_stage_wiped_and_trained_afresh_gets_a_run_of_its_own(mlruns: Path) -> None:
    folder = begin_stage(mlruns)
    complete_stage(folder)
    tracker = tracked(mlruns)
    tracker.finish(folder)
    tracker.end()
    shutil.rmtree(folder)
    complete_stage(begin_stage(mlruns, created=CREATED + 1), epochs=2)
    again = tracked(mlruns, "run2")
    again.finish(folder)
    again.end()
    assert sorted(len(history(mlruns, run)) for run in stage_runs(mlruns)) == [2, 3]


def test_a_reused_stage_is_found_by_every_execution_that_used_it(mlruns: Path) -> None:
    folder = begin_stage(mlruns)
    complete_stage(folder)
    for execution in ("run1", "run2"):
        tracker = tracked(mlruns, execution)
        tracker.finish(folder)
        tracker.end()
    for execution in ("run1", "run2"):
        assert len(runs(mlruns, f"tags.executions LIKE '%{execution}%'")) == 1
    (run,) = stage_runs(mlruns)
    assert run.data.tags["execution"] == "run2"
    (parent,) = runs(mlruns, "tags.kind = 'execution' and tags.execution = 'run2'")
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_a_teacher_reused_by_another_experiment_keeps_its_run_and_the_link_names_both(mlruns: Path) -> None:
    teacher = begin_stage(mlruns, "teacher")
    complete_stage(teacher)
    tracker = tracked(mlruns)
    tracker.finish(teacher)
    tracker.end()
    student = begin_stage(mlruns, experiment="other")
    complete_stage(student)
    tracker = tracked(mlruns, "run2", "other")
    for folder in (teacher, student):
        tracker.finish(folder)
    tracker.end()
    (run,) = stage_runs(mlruns, "teacher")
    assert run.data.tags["executions"] == "run2 run1"
    link = tracker.link()
    assert link is not None
    assert "compare-experiments" in link


def test_a_number_of_the_training_in_a_test_is_no_point_of_its_curve(mlruns: Path) -> None:
    folder = begin_stage(mlruns)
    complete_stage(folder, {"test/accuracy": 0.9, "train/explainer/leaves": 7.0})
    tracker = tracked(mlruns)
    tracker.finish(folder)
    tracker.end()
    (run,) = stage_runs(mlruns)
    assert run.data.metrics["test/accuracy"] == 0.9
    assert "train/explainer/leaves" not in run.data.metrics


def test_a_new_evaluation_is_sent_to_the_finished_run(mlruns: Path) -> None:
    folder = begin_stage(mlruns)
    complete_stage(folder)
    tracker = tracked(mlruns)
    tracker.finish(folder)
    sent(tracker)
    TestResult({"test/accuracy": 0.9, "test/auroc": 0.99}, CREATED + 20_000, 2).write(folder, "e2")
    tracker.finish(folder)
    tracker.end()
    (run,) = stage_runs(mlruns)
    assert run.data.metrics["test/auroc"] == 0.99


def test_names_that_mlflow_refuses_are_mended(mlruns: Path) -> None:
    folder = begin_stage(mlruns, parameters={"layers[0]": None, "losses": ["a", "b"]})
    tracker = tracked(mlruns)
    log_epoch(folder, 0, metrics={"val/f1[macro]": 0.5})
    tracker.sync(folder)
    sent(tracker)
    tracker.end("KILLED")
    (run,) = stage_runs(mlruns)
    assert run.data.params == {"layers_0_": "null", "losses": '["a", "b"]'}
    assert run.data.metrics["val/f1_macro_"] == 0.5


def test_what_a_killed_process_left_of_a_file_it_sent_goes(mlruns: Path) -> None:
    folder = begin_stage(mlruns)
    first = tracked(mlruns)
    log_epoch(folder, 0)
    first.sync(folder)
    sent(first)
    (run,) = stage_runs(mlruns)
    left = mlruns / "artifacts" / "digits" / run.info.run_id / "artifacts" / "weights" / ".artifact.uploading.1kz6y1ej"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    complete_stage(folder)
    first.finish(folder)
    assert first.end("FINISHED")
    assert not left.exists()
    assert {"weights/model.safetensors"} == {file.path for file in files(mlruns, run, "weights")}
