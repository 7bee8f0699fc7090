"""Pictures of reasons: what the teacher, the student and its explainer look at, on the same inputs."""

from collections.abc import Iterator, Mapping

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
    figure, cells = _panel(inputs, attributions, titles)
    for axes, values in cells:
        if inputs.ndim == 4:
            _draw_attributions(axes, values)
        else:
            _draw_values(axes, values, features)
    return figure


def map_panel(inputs: Tensor, maps: Mapping[str, Tensor], titles: list[str]) -> Figure:
    """One row a sample, the input first and then each map, dark where it is 0; each has a scale of its own.

    Two layers have no common unit, so that a place can be compared with others of its map alone. A map is drawn as
    coarse as the layer is.

    Args:
        inputs: (samples, ...).
        maps: by title of the column, (samples, height, width), >= 0.
        titles: one a sample, such as its class.
    """
    figure, cells = _panel(inputs, maps, titles)
    for axes, values in cells:
        axes.axis("off")
        axes.imshow(values.numpy(), cmap="viridis", vmin=0.0)
    return figure


def _panel(
    inputs: Tensor, columns: Mapping[str, Tensor], titles: list[str]
) -> tuple[Figure, Iterator[tuple[Axes, Tensor]]]:
    """A figure with the inputs drawn in its first column; what is to be drawn in the others comes with its place."""
    rows, image = min(SAMPLES, len(inputs)), inputs.ndim == 4
    figure = Figure(figsize=(2.2 * (len(columns) + 1), (1.9 if image else 2.4) * rows), layout="constrained")
    grid = figure.subplots(rows, len(columns) + 1, squeeze=False)
    for row in range(rows):
        grid[row, 0].set_title(titles[row], fontsize=9)
        if image:
            _draw_image(grid[row, 0], inputs[row])
        else:
            _draw_values(grid[row, 0], inputs[row], None)
    for place, name in enumerate(columns, start=1):
        grid[0, place].set_title(name, fontsize=9)
    places = [(row, place, name) for row in range(rows) for place, name in enumerate(columns, start=1)]
    return figure, ((grid[row, place], columns[name][row]) for row, place, name in places)


def _draw_attributions(axes: Axes, values: Tensor) -> None:
    axes.axis("off")
    flat = values.sum(dim=0)
    limit = float(flat.abs().max()) or 1.0
    axes.imshow(flat.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)


def _draw_image(axes: Axes, values: Tensor) -> None:
    axes.axis("off")
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
