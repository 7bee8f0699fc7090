"""What a stage's folder shows of it: attributions and maps of student and teacher on the same samples."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn

from kdlab.data.base import DataModule
from kdlab.explainers.base import Attribution
from kdlab.figures import SAMPLES, attribution_panel, map_panel
from kdlab.job import Job, network_of
from kdlab.maps import maps_of
from kdlab.modules.joint import Joint
from kdlab.teacher import Teacher


def draw(job: Job, module: lightning.LightningModule, explainer: Callable[[nn.Module], Attribution] | None) -> None:
    """Draw into the folder of a stage's first seed, which tells as much as ten: attributions, and maps if asked for.

    Args:
        job: the stage.
        module: with its chosen weights, in eval mode.
        explainer: the post-hoc method of the evaluation, or None.
    """
    if not isinstance(job.data, DataModule) or job.seed != job.experiment.seeds_of(job.stage)[0]:
        return
    teacher, layers = job.reference, job.experiment.maps
    shown = _shown(job.data, network_of(module))
    if teacher is not None:
        teacher.to(shown.inputs.device)
    figures = {}
    if explainer is not None:
        found = _attributions(job.stage, module, teacher, explainer, shown)
        figures["attributions"] = attribution_panel(
            shown.inputs.cpu(), _on_cpu(found), shown.titles, job.data.feature_names
        )
    if layers and teacher is not None:
        found = _maps(job.stage, network_of(module), teacher, layers, shown)
        figures["maps"] = map_panel(shown.inputs.cpu(), _on_cpu(found), shown.titles)
    for name, figure in figures.items():
        path = job.folder.path / "figures" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, dpi=110)


@dataclass(frozen=True)
class _Shown:
    """Some samples of the test split's probe, what the model says of them, and a title for each."""

    inputs: Tensor
    predicted: Tensor
    titles: list[str]


def _shown(data: DataModule, model: nn.Module) -> _Shown:
    device = next(model.parameters()).device
    probe = data.probe(128, "test")
    # A probe stands in the data's order, which may go class by class; so far apart, its samples show several.
    rows = torch.linspace(0, len(probe["inputs"]) - 1, SAMPLES).long()
    probe = {name: value[rows].to(device) for name, value in probe.items()}
    with torch.no_grad():
        predicted = model(probe["inputs"]).argmax(dim=1)
    names = data.class_names
    titles = [
        f"{names[int(t)]}, said {names[int(p)]}" if int(t) != int(p) else names[int(t)]
        for t, p in zip(probe["target"], predicted, strict=True)
    ]
    return _Shown(probe["inputs"], predicted, titles)


def _attributions(
    stage: str,
    module: lightning.LightningModule,
    teacher: Teacher | None,
    explainer: Callable[[nn.Module], Attribution],
    shown: _Shown,
) -> dict[str, Tensor]:
    """Attributions of the class that the model predicts: the teacher's, the model's, the learned explainer's."""
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        if teacher is not None:
            found["teacher"] = teacher.attributions(shown.inputs, shown.predicted, explainer)
        found[stage] = explainer(network_of(module)).attribute(shown.inputs, shown.predicted)
        if isinstance(module, Joint) and isinstance(module.explainer, Attribution) and module.explain_weight > 0:
            found["its explainer"] = module.explainer.attribute(shown.inputs, shown.predicted)
    return found


def _maps(
    stage: str, model: nn.Module, teacher: Teacher, layers: Mapping[str, str], shown: _Shown
) -> dict[str, Tensor]:
    """The teacher's map and the model's, pair by pair."""
    found: dict[str, Tensor] = {}
    for (own, teachers), (theirs, mine) in zip(
        layers.items(), maps_of(model, teacher, shown.inputs, layers), strict=True
    ):
        found |= {f"teacher\n{teachers}": theirs, f"{stage}\n{own}": mine}
    return found


def _on_cpu(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: values.cpu() for name, values in found.items()}
