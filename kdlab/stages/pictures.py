"""Pictures in a stage's folder: attributions and maps on the same samples, and the learned explainer's rules.

Pictures matter less than results: if one cannot be drawn, nothing else is lost.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import lightning.pytorch as lightning
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from kdlab.data.adopted import Data
from kdlab.explainers.base import Attribution, Draws, Tells, Writes
from kdlab.modules.adopted import adopt_module
from kdlab.records.files import replacing, write_json
from kdlab.signals.outputs import logits_of
from kdlab.stages.figures import SAMPLES, attribution_panel, map_panel
from kdlab.stages.maps import maps_of
from kdlab.stages.seeded_stage import SeededStage
from kdlab.teacher import Teacher

#: At most so many samples of a split are used for an explainer's readable form.
WRITTEN_FOR = 4096
#: Errors while making a picture: a shape or name that does not fit, an explainer that cannot explain these inputs, too
#: little memory, or a full disk.
UNDRAWN = (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError, AttributeError, OSError)


Made = TypeVar("Made")


def draw(
    seeded: SeededStage,
    module: lightning.LightningModule,
    explainer: Callable[[nn.Module], Attribution] | None,
    evaluation: str,
) -> None:
    """Write pictures of attributions and maps, and the learned explainer's rules, to the stage's folder.

    Samples are drawn for a stage's first seed only. What cannot be drawn is reported on the terminal and in
    ``shown-<evaluation>.json``. That file is written last, and a stage that has it is not drawn again.

    Args:
        seeded: the stage.
        module: its module with the chosen weights, in eval mode.
        explainer: the post-hoc method of the evaluation, or None.
        evaluation: the evaluation's hash.
    """
    failed: dict[str, str] = {}
    for name, write in _wanted(seeded, module, explainer):
        path = seeded.folder.path / name
        try:
            with replacing(path) as scratch:
                write(scratch)
        except UNDRAWN as error:
            path.unlink(missing_ok=True)  # else a picture of earlier weights would be taken for one of these
            failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            print(
                f"{seeded.stage} seed {seeded.seed}: {name} could not be made ({failed[name]}); its results are whole"
            )
    write_json(seeded.folder.path / f"shown-{evaluation}.json", {"failed": failed})


def _wanted(
    seeded: SeededStage, module: lightning.LightningModule, explainer: Callable[[nn.Module], Attribution] | None
) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Yield each file that is to be written, by its name in the folder, with the function that writes it."""
    if seeded.seed == seeded.experiment.seeds_of(seeded.stage)[0]:
        yield from _of_samples(seeded, module, explainer)
    learned = adopt_module(module).learned_explainer
    if learned is None:
        return

    # Cached, and called only by a file's writer, so that a failure costs those files and no others.
    @cache
    def make_readable() -> None:
        """Prepare the explainer's readable form once, for the first file that needs it."""
        if isinstance(learned, Writes):
            data = seeded.arranged_data(module)
            splits = {"training": "train", "validation": "val"}
            learned.write({name: data.probe(WRITTEN_FOR, split)["inputs"] for name, split in splits.items()})

    if isinstance(learned, Tells):
        yield "explainer.txt", _after(make_readable, learned.text, _write)
    if isinstance(learned, Draws):
        yield "figures/explainer.png", _after(make_readable, learned.figure, _save_tight)


def _after(
    first: Callable[[], None], make: Callable[[], Made], write: Callable[[Path, Made], None]
) -> Callable[[Path], None]:
    """Return a function that calls ``first``, makes something and writes it to a path."""

    def both(path: Path) -> None:
        first()
        write(path, make())

    return both


def _of_samples(
    seeded: SeededStage,
    module: lightning.LightningModule,
    explainer: Callable[[nn.Module], Attribution] | None,
) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Yield attributions if there is an explainer, and maps if they were asked for; nothing if units are unknown."""
    teacher, layers, model = seeded.reference, seeded.experiment.maps, adopt_module(module).model
    description = seeded.data.description
    prepared, names = description.preparation, description.class_names
    if prepared is None or names is None:
        return
    features = description.feature_names if prepared.columns is None else [column.words for column in prepared.columns]

    def attributions(path: Path) -> None:
        shown = _shown(seeded.data, names, model, teacher)
        found = _attributions(seeded.stage, module, teacher, explainer, shown) if explainer is not None else {}
        _save(path, attribution_panel(prepared.undone(shown.inputs.cpu()), _on_cpu(found), shown.titles, features))

    def maps(path: Path) -> None:
        shown = _shown(seeded.data, names, model, teacher)
        found = _maps(seeded.stage, model, teacher, layers, shown) if teacher is not None else {}
        _save(path, map_panel(prepared.undone(shown.inputs.cpu()), _on_cpu(found), shown.titles))

    if explainer is not None:
        yield "figures/attributions.png", attributions
    if layers and teacher is not None:
        yield "figures/maps.png", maps


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _save(path: Path, figure: Figure, bbox_inches: str | None = None) -> None:
    figure.savefig(path, format="png", dpi=110, bbox_inches=bbox_inches)


def _save_tight(path: Path, figure: Figure) -> None:
    _save(path, figure, bbox_inches="tight")


@dataclass(frozen=True)
class _Shown:
    """Some samples of the test split's probe, the model's predicted class of each, and a title for each."""

    inputs: Tensor
    predicted: Tensor
    titles: list[str]


def _shown(data: Data, names: list[str], model: nn.Module, teacher: Teacher | None) -> _Shown:
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    if teacher is not None:
        teacher.to(device)
    probe = data.probe(128, "test")
    # A probe has the data's order, which may go class by class; samples far apart show several classes.
    rows = sorted(set(torch.linspace(0, len(probe["inputs"]) - 1, SAMPLES).long().tolist()))
    inputs = probe["inputs"][rows].to(device)
    with torch.no_grad():
        predicted = logits_of(model(inputs)).argmax(dim=1)
    pairs = zip(probe["target"][rows].tolist(), predicted.tolist(), strict=True)
    return _Shown(inputs, predicted, [_title(names, target, said) for target, said in pairs])


def _title(names: list[str], target: int, said: int) -> str:
    """Return a sample's class and, if the prediction differs or the class is unknown, the predicted class."""
    label = names[target] if target >= 0 else "no label"
    return label if target == said else f"{label}, said {names[said]}"


def _attributions(
    stage: str,
    module: lightning.LightningModule,
    teacher: Teacher | None,
    explainer: Callable[[nn.Module], Attribution],
    shown: _Shown,
) -> dict[str, Tensor]:
    """Return attributions of the predicted class: the teacher's, the model's and the learned explainer's."""
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        if teacher is not None and teacher.explainable:
            found["teacher"] = teacher.attributions(shown.inputs, shown.predicted, explainer)
        adopted = adopt_module(module)
        found[stage] = explainer(adopted.model).attribute(shown.inputs, shown.predicted)
        learned = adopted.learned_explainer
        if learned is not None and isinstance(learned, Attribution):
            found["its explainer"] = learned.attribute(shown.inputs, shown.predicted)
    return found


def _maps(
    stage: str, model: nn.Module, teacher: Teacher, layers: Mapping[str, str], shown: _Shown
) -> dict[str, Tensor]:
    """Return the teacher's and the model's map for each pair of layers."""
    found: dict[str, Tensor] = {}
    for (own, teachers), (theirs, mine) in zip(
        layers.items(), maps_of(model, teacher, shown.inputs, layers), strict=True
    ):
        found |= {f"teacher\n{teachers}": theirs, f"{stage}\n{own}": mine}
    return found


def _on_cpu(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: values.cpu() for name, values in found.items()}
