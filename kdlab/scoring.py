"""Testing a trained stage, once for each way of evaluating: metrics, scores of every sample, costs, pictures."""

from time import time_ns
from typing import Any

import lightning.pytorch as lightning
import numpy
import torch
from torch import Tensor, nn

from kdlab.callbacks.evaluate import Evaluate
from kdlab.costs import costs
from kdlab.data.base import DataModule
from kdlab.data.batches import as_batch
from kdlab.explainers.base import Attribution, Describes, Draws, Tells
from kdlab.figures import SAMPLES, attribution_panel
from kdlab.job import Job, trained_module, user_errors
from kdlab.modules.joint import Joint
from kdlab.modules.supervised import Supervised
from kdlab.randomness import address, forked
from kdlab.stage_folder import write_json
from kdlab.training import make_trainer, quiet


def test(job: Job, evaluation: str) -> None:
    """Test a stage's chosen weights and write ``test-<evaluation>.json``; the folder's lock is held by the caller."""
    folder = job.folder
    with forked(address(job.seed, "testing")):
        module = trained_module(job)
        evaluate = job.evaluate(module)
        trainer = make_trainer(job, [evaluate], logger=False, devices=1, strategy="auto")
        with quiet(), user_errors(f"stage {job.stage!r}"):
            (metrics,) = trainer.test(module, datamodule=job.arranged_data(module), verbose=False)
            module.eval()
            sample = as_batch(next(iter(job.arranged_data(module).test_dataloader())))
            metrics = dict(metrics) | _costs(job, module, evaluate, sample["inputs"][:64])
            _pictures(job, module, evaluate)
            metrics |= _explainer_artifacts(job, module)
    _write_scores(job, evaluate, evaluation)
    done = folder.done or {}
    write_json(
        folder.path / f"test-{evaluation}.json",
        {"metrics": metrics, "time": time_ns() // 10**6, "epoch": done.get("epoch", -1)},
    )


def _costs(job: Job, module: lightning.LightningModule, evaluate: Evaluate, inputs: Tensor) -> dict[str, float]:
    model = network_of(module)
    inputs = inputs.to(next(model.parameters()).device)
    explainer = evaluate.explainer(model) if evaluate.explainer is not None else None
    learned = module.explainer if isinstance(module, Joint) and module.explain_weight > 0 else None
    values = costs(model, inputs, explainer, learned)
    done = job.folder.done or {}
    values["training_seconds"] = float(done.get("seconds", 0.0))
    return {f"cost/{name}": value for name, value in values.items()}


def _pictures(job: Job, module: lightning.LightningModule, evaluate: Evaluate) -> None:
    """Attributions of the reference teacher, the model and the learned explainer on the first samples of the probe."""
    drawn = job.seed == job.experiment.seeds_of(job.stage)[0]  # one seed's pictures tell as much as ten's
    if evaluate.explainer is None or not isinstance(job.data, DataModule) or not drawn:
        return
    model = network_of(module)
    device = next(model.parameters()).device
    probe = {name: value[:SAMPLES].to(device) for name, value in job.data.probe(128, "test").items()}
    inputs = probe["inputs"]
    with torch.no_grad():
        predicted = model(inputs).argmax(dim=1)
        shown: dict[str, Tensor] = {}
        if job.reference is not None:
            job.reference.to(device)
            shown["teacher"] = job.reference.attributions(inputs, predicted, evaluate.explainer)
        shown[job.stage] = evaluate.explainer(model).attribute(inputs, predicted)
        if isinstance(module, Joint) and isinstance(module.explainer, Attribution) and module.explain_weight > 0:
            shown["its explainer"] = module.explainer.attribute(inputs, predicted)
    names = job.data.class_names
    titles = [
        f"{names[int(t)]}, said {names[int(p)]}" if int(t) != int(p) else names[int(t)]
        for t, p in zip(probe["target"], predicted, strict=True)
    ]
    figure = attribution_panel(
        inputs.cpu(), {name: value.cpu() for name, value in shown.items()}, titles, job.data.feature_names
    )
    figures = job.folder.path / "figures"
    figures.mkdir(exist_ok=True)
    figure.savefig(figures / "attributions.png", dpi=110)


def _explainer_artifacts(job: Job, module: lightning.LightningModule) -> dict[str, float]:
    """The learned explainer's readable form, its picture and its numbers."""
    if not isinstance(module, Joint) or module.explain_weight == 0:
        return {}
    explainer: nn.Module = module.explainer
    if isinstance(explainer, Tells):
        (job.folder.path / "explainer.txt").write_text(explainer.text())
    if isinstance(explainer, Draws):
        (job.folder.path / "figures").mkdir(exist_ok=True)
        explainer.figure().savefig(job.folder.path / "figures" / "explainer.png", dpi=110, bbox_inches="tight")
    if isinstance(explainer, Describes):
        return {f"test/explainer/{name}": float(value) for name, value in explainer.describe().items()}
    return {}


def _write_scores(job: Job, evaluate: Evaluate, evaluation: str) -> None:
    """The score of every sample by metric, sorted by the sample's index."""
    arrays: dict[str, Any] = {}
    for name, parts in evaluate.scores.items():
        rows = torch.cat(parts)
        rows = rows[rows[:, 0].argsort()]
        arrays[f"{name}:index"] = rows[:, 0].long().numpy()
        arrays[name] = rows[:, 1].numpy()
    scratch = job.folder.path / f".scores-{evaluation}.npz"
    with scratch.open("wb") as file:
        numpy.savez_compressed(file, **arrays)
    scratch.replace(job.folder.path / f"scores-{evaluation}.npz")


def network_of(module: lightning.LightningModule) -> nn.Module:
    """The network inside a module of kdlab's; another LightningModule is its own network."""
    return module.model if isinstance(module, Supervised) else module
