"""Testing a trained stage, once for each evaluation: metrics, scores of every sample, costs and pictures."""

from time import time_ns
from typing import Any

import lightning.pytorch as lightning
import numpy
import torch
from torch import Tensor

from kdlab.callbacks.evaluate import Evaluate
from kdlab.data.batches import as_batch
from kdlab.errors import StageError
from kdlab.explainers.base import Describes
from kdlab.modules.adopted import adopt_module
from kdlab.randomness import address, forked
from kdlab.records.files import replacing
from kdlab.records.stage_records import Done, TestResult
from kdlab.stages.costs import costs
from kdlab.stages.pictures import draw
from kdlab.stages.seeded_stage import SeededStage, trained_module, user_errors
from kdlab.stages.training import make_trainer, quiet


def test(seeded: SeededStage, evaluation: str) -> None:
    """Test a stage: its numbers are written first, then its pictures; the caller holds the folder's lock.

    What an earlier call has written stays. A picture that fails costs no number.
    """
    with forked(address(seeded.seed, "testing")):
        module = trained_module(seeded)
        evaluate = seeded.evaluate(module)
        if seeded.folder.test_result(evaluation) is None:
            _score(seeded, module, evaluate, evaluation)
    # A seed of their own, so that the pictures are the same if a kill came between the test and them.
    with forked(address(seeded.seed, "pictures")):
        draw(seeded, module, evaluate.explainer, evaluation)


def _score(seeded: SeededStage, module: lightning.LightningModule, evaluate: Evaluate, evaluation: str) -> None:
    """Test the chosen weights and write ``scores-<evaluation>.npz`` and ``test-<evaluation>.json``."""
    folder = seeded.folder
    trainer = make_trainer(seeded, [evaluate], logger=False, devices=1, strategy="auto")
    with quiet(), user_errors(f"stage {seeded.stage!r}"):
        (metrics,) = trainer.test(module, datamodule=seeded.arranged_data(module).lightning, verbose=False)
        module.eval()
        sample = as_batch(next(iter(seeded.arranged_data(module).lightning.test_dataloader())))
        metrics = dict(metrics) | _costs(seeded, module, evaluate, sample["inputs"][:64]) | _described(module)
    _write_scores(seeded, evaluate, evaluation)
    TestResult(metrics, time_ns() // 10**6, _done(seeded).epoch).write(folder.path, evaluation)


def _costs(
    seeded: SeededStage, module: lightning.LightningModule, evaluate: Evaluate, inputs: Tensor
) -> dict[str, float]:
    adopted = adopt_module(module)
    model = adopted.model
    inputs = inputs.to(module.device)
    explainer = evaluate.explainer(model) if evaluate.explainer is not None else None
    values = costs(model, inputs, explainer, adopted.learned_explainer) if adopted.explainable else {}
    done = _done(seeded)
    values["training_seconds"] = done.seconds
    if done.memory_bytes is not None:
        # The most memory during training and validation, beyond what the process held before.
        values["training_memory_bytes"] = float(done.memory_bytes)
    return {f"cost/{name}": value for name, value in values.items()}


def _done(seeded: SeededStage) -> Done:
    done = seeded.folder.done
    if done is None:
        raise StageError(
            f"stage {seeded.stage!r} is not finished, and only what is finished is tested: {seeded.folder.path}"
        )
    return done


def _described(module: lightning.LightningModule) -> dict[str, float]:
    """Return the numbers that a learned explainer reports about itself; scores among them are on its training data."""
    explainer = adopt_module(module).learned_explainer
    if explainer is None or not isinstance(explainer, Describes):
        return {}
    return {f"train/explainer/{name}": float(value) for name, value in explainer.describe().items()}


def _write_scores(seeded: SeededStage, evaluate: Evaluate, evaluation: str) -> None:
    """Write every sample's score by metric, sorted by the sample's index."""
    arrays: dict[str, Any] = {}
    for name, parts in evaluate.scores.items():
        rows = torch.cat(parts)
        rows = rows[rows[:, 0].argsort()]
        arrays[f"{name}:index"] = rows[:, 0].long().numpy()
        arrays[name] = rows[:, 1].numpy()
    with replacing(seeded.folder.path / f"scores-{evaluation}.npz") as scratch, scratch.open("wb") as file:
        numpy.savez_compressed(file, **arrays)
