"""Training never waits more than two seconds in all for tracking, whatever is at the other end."""

import logging
import time
from pathlib import Path

import pytest

from kdlab.tracking.courier import within
from tests.stage_folders import begin_stage, complete_stage, log_epoch, write_execution
from tests.tracking.broken_servers import BROKEN
from tests.tracking.reading import history, runs, stage_runs, tracked

#: Of a machine that is busy with other things.
SLACK = 3.0


@pytest.mark.parametrize("kind", BROKEN)
# What a server that was left alone still holds open.
@pytest.mark.filterwarnings("ignore:.*unclosed <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_training_waits_two_seconds_at_most_and_the_numbers_follow(
    kind: str, mlruns: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # MLflow asks a dead database for a minute and more, under a lock of all databases in the process: here it is asked
    # once, so that the thread that is left behind does not hold up the next test.
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    caplog.set_level(logging.WARNING)
    folder = begin_stage(mlruns)
    waited = 0.0
    with BROKEN[kind]() as address:
        tracker = tracked(mlruns, uri=address)
        for epoch in range(5):
            log_epoch(folder, epoch)
            started = time.monotonic()
            tracker.sync(folder)
            waited += time.monotonic() - started
            time.sleep(0.1)
        complete_stage(folder, epochs=0)
        write_execution(mlruns, [folder])
        started = time.monotonic()
        tracker.finish(folder)
        assert not tracker.end("FINISHED")
        waited += time.monotonic() - started
    left_behind = tracker._courier._thread
    if left_behind is not None:
        left_behind.join(60)
    assert waited < 2.0 + SLACK
    said = [record.getMessage() for record in caplog.records if record.name.startswith("kdlab")]
    assert len(said) == 1
    assert "\n" not in said[0]
    assert "follow with a later command" in said[0]


def test_what_a_broken_server_never_got_is_in_the_next_that_works(mlruns: Path) -> None:
    folder = begin_stage(mlruns)
    with BROKEN["refusing"]() as address:
        tracker = tracked(mlruns, uri=address)
        complete_stage(folder)
        tracker.finish(folder)
        assert not tracker.end()
    again = tracked(mlruns, "run2")
    again.finish(folder)
    assert again.end()
    (run,) = stage_runs(mlruns)
    assert len(history(mlruns, run)) == 3


def test_a_database_of_ones_own_has_everything_when_the_command_ends(mlruns: Path) -> None:
    folders = [begin_stage(mlruns, seed=seed) for seed in range(3)]
    tracker = tracked(mlruns)
    for folder in folders:
        complete_stage(folder)
        tracker.finish(folder)
    write_execution(mlruns, folders)
    assert tracker.end()
    assert {run.info.status for run in runs(mlruns, "attributes.status != 'x'")} >= {"FINISHED"}
    assert runs(mlruns, "attributes.status = 'RUNNING'") == []
    assert [len(history(mlruns, run)) for run in stage_runs(mlruns)] == [3, 3, 3]


def test_a_call_that_hangs_is_left_alone() -> None:
    with pytest.raises(TimeoutError, match="no answer within"):
        within(0.05, lambda: time.sleep(1))
    within(5, lambda: None)
    with pytest.raises(ValueError, match="bad"):
        within(5, lambda: raising(ValueError("bad")))


def raising(error: Exception) -> None:
    raise error
