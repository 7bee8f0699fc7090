"""What a checkpoint remembers of a training, apart from the training itself."""

from pathlib import Path

from kdlab.records.stage_folder import StageFolder
from kdlab.stages.checkpoints import Checkpoints
from kdlab.stages.journal import Journal
from kdlab.stages.validated_weights import Scored


def checkpoints(folder: StageFolder) -> Checkpoints:
    return Checkpoints(folder, Journal(folder), Scored(), "val/accuracy", True, 0.0, lambda: None)


def test_a_training_that_goes_on_knows_its_best_epoch_and_the_seconds_that_it_took(tmp_path: Path) -> None:
    folder = StageFolder(tmp_path)
    Journal(folder).log_metrics({"val/accuracy": 0.75, "epoch": 3}, 40)
    before, after = checkpoints(folder), checkpoints(folder)
    before.best_score, before.best_epoch, before._best_step, before.trained_seconds = 0.75, 3, 40, 12.5
    after.load_state_dict(before.state_dict())
    assert after.trained_seconds == 12.5
    assert after.state_dict() == before.state_dict()
