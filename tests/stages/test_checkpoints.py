"""What a checkpoint remembers of a training, apart from the training itself."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import nn

from kdlab.modules.supervised import Supervised
from kdlab.records.stage_folder import StageFolder
from kdlab.stages.checkpoints import Checkpoints
from kdlab.stages.journal import Journal
from kdlab.stages.resume_state import only_before_epochs
from kdlab.stages.validated_weights import Scored


class OwnModule(Supervised):
    """Somebody's subclass, which may gather what no checkpoint holds."""


class OwnStopping(EarlyStopping):
    """The same of a callback."""


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


@pytest.mark.parametrize(
    ("module", "callbacks", "unknown"),
    [
        (Supervised, [EarlyStopping("val/accuracy")], None),
        (OwnModule, [], "OwnModule"),
        (Supervised, [OwnStopping("val/accuracy")], "OwnStopping"),
        (Supervised, [EarlyStopping("val/accuracy"), Callback()], "Callback"),
    ],
)
def test_what_somebody_adds_may_gather_during_an_epoch(
    module: type[Supervised], callbacks: list[Callback], unknown: str | None
) -> None:
    loop = SimpleNamespace(_combined_loader=None)
    trainer: Any = SimpleNamespace(world_size=1, fit_loop=loop, lightning_module=module(nn.Linear(2, 2)))
    reason = only_before_epochs(trainer, callbacks)
    assert reason == (unknown and f"{unknown} may keep more of an epoch than its checkpoint holds")
