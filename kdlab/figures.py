"""Pictures of reasons: what the teacher, the student and its explainer look at, on the same inputs."""

from collections.abc import Mapping

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

#: Rows of a panel: enough to see a pattern, few enough to look at.
SAMPLES = 6


def attribution_panel(
    inputs: Tensor, attributions: Mapping[str, Tensor], titles: list[str], features: list[str] | None
) -> Figure:
    """One row a sample, the input first and then each explainer's attributions of the same class.

    Images are shown as they are, tables and series as bars or lines; red speaks for the class, blue against it. Each
    map has a scale of its own, since attributions of two models have no common unit.

    Args:
        inputs: (samples, ...).
        attributions: by explainer's name, of the inputs' shape.
        titles: one a sample, such as its class.
        features: names of a table's columns.
    """
    rows, columns = min(SAMPLES, len(inputs)), len(attributions) + 1
    image = inputs.ndim == 4
    figure = Figure(figsize=(2.2 * columns, (1.9 if image else 2.4) * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        shown: dict[str, Tensor] = {titles[row]: inputs[row], **{name: a[row] for name, a in attributions.items()}}
        for column, (name, values) in enumerate(shown.items()):
            axes = grid[row, column]
            if row == 0 or column == 0:
                axes.set_title(name, fontsize=9)
            if image:
                _draw_image(axes, values, signed=column > 0)
            else:
                _draw_values(axes, values, features if column > 0 else None)
    return figure


def _draw_image(axes: Axes, values: Tensor, signed: bool) -> None:
    axes.axis("off")
    if signed:
        flat = values.sum(dim=0)
        limit = float(flat.abs().max()) or 1.0
        axes.imshow(flat.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
        return
    shifted = values - values.min()
    picture = (shifted / shifted.max().clamp(min=1e-12)).permute(1, 2, 0)
    axes.imshow((picture if picture.shape[2] == 3 else picture[..., 0]).numpy(), cmap="gray")


def _draw_values(axes: Axes, values: Tensor, features: list[str] | None) -> None:
    flat = values.flatten()
    axes.tick_params(labelsize=6)
    if features is None:
        axes.plot(flat.numpy(), linewidth=0.8)
        return
    top = torch.topk(flat.abs(), min(8, len(flat))).indices.flip(0)
    colours = ["#b2182b" if flat[i] > 0 else "#2166ac" for i in top]
    axes.barh([features[i][:22] for i in top], flat[top].numpy(), color=colours)
