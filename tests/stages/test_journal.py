"""What a stage logs, read back by epoch."""

from pathlib import Path

from kdlab.records.stage_folder import StageFolder
from kdlab.stages.journal import Journal


def test_of_several_validations_of_an_epoch_the_last_counts(tmp_path: Path) -> None:
    journal = Journal(StageFolder(tmp_path))
    for step, values in (
        (4, {"val/accuracy": 0.5, "val/nll": 2.0}),
        (9, {"val/accuracy": 0.7}),
        (9, {"train/loss": 1.0}),
    ):
        journal.log_metrics({**values, "epoch": 1}, step)
    journal.log_metrics({"val/accuracy": 0.1, "epoch": 2}, 14)
    assert journal.of_epoch(1) == (9, {"val/accuracy": 0.7, "val/nll": 2.0})
    assert journal.of_epoch(2) == (14, {"val/accuracy": 0.1})
    assert journal.of_epoch(3) == (0, {})


def test_what_was_logged_after_a_size_is_taken_back(tmp_path: Path) -> None:
    journal = Journal(StageFolder(tmp_path))
    assert journal.size() == 0
    journal.log_metrics({"val/accuracy": 0.5, "epoch": 0}, 4)
    size = journal.size()
    journal.log_metrics({"val/accuracy": 0.6, "epoch": 1}, 9)
    journal.truncate(size)
    assert journal.size() == size
    assert journal.of_epoch(1) == (0, {})
