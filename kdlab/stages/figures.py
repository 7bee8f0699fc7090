"""Pictures that show what the teacher, the student and its explainer look at, on the same inputs."""

from collections.abc import Iterator, Mapping

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

#: How many rows a panel has at most: enough to show a pattern, and few enough to look at.
SAMPLES = 6
#: At most so many bars for a table's attributions, letters of a name, and listed values.
BARS, LETTERS, LISTED = 8, 22, 12


def attribution_panel(
    inputs: Tensor, attributions: Mapping[str, Tensor], titles: list[str], features: list[str] | None
) -> Figure:
    """Return a figure with one row for each sample: the input, then each explainer's attributions of the same class.

    Images are shown as they are, in grey unless they have three channels. For a table, the features that count most are
    shown, each with the sample's value. A series is drawn with one line for each channel. Red speaks for the class,
    blue against it. Each map has its own scale, because attributions of two models have no common unit. Values that are
    not finite are left out.

    Args:
        inputs: (samples, ...), in units that a person can read.
        attributions: by the explainer's name, each of the inputs' shape.
        titles: one for each sample, such as its class.
        features: names of a table's columns or of a series' channels.
    """
    figure, cells = _panel(inputs, attributions, titles, features)
    for axes, row, values in cells:
        if not values.isfinite().any():
            axes.axis("off")
            axes.text(0.5, 0.5, "undefined", ha="center", va="center", fontsize=8)
        elif inputs.ndim == 4:
            _draw_attributions(axes, values)
        elif inputs.ndim == 2 and features is not None:
            _draw_bars(axes, values, inputs[row], features)
        else:
            _draw_lines(axes, values, None)
    return figure


def map_panel(inputs: Tensor, maps: Mapping[str, Tensor], titles: list[str]) -> Figure:
    """Return a figure with one row for each sample: the input, then each map, dark where it is 0.

    Each map has its own scale, because two layers have no common unit: a place can only be compared with others of the
    same map. A map is drawn at the resolution of its layer.

    Args:
        inputs: (samples, ...).
        maps: by the column's title, each (samples, height, width), >= 0.
        titles: one for each sample, such as its class.
    """
    figure, cells = _panel(inputs, maps, titles, None)
    for axes, _, values in cells:
        axes.axis("off")
        axes.imshow(values.numpy(), cmap="viridis", vmin=0.0)
    return figure


def _panel(
    inputs: Tensor, columns: Mapping[str, Tensor], titles: list[str], features: list[str] | None
) -> tuple[Figure, Iterator[tuple[Axes, int, Tensor]]]:
    """Return a figure with the inputs in its first column, and for each other cell its axes, its row and its values."""
    rows, image = min(SAMPLES, len(inputs)), inputs.ndim == 4
    channels = features if inputs.ndim == 3 else None
    figure = Figure(figsize=(2.2 * (len(columns) + 1), (1.9 if image else 2.4) * rows), layout="constrained")
    grid = figure.subplots(rows, len(columns) + 1, squeeze=False)
    for row in range(rows):
        grid[row, 0].set_title(_literal(titles[row]), fontsize=9)
        if image:
            _draw_image(grid[row, 0], inputs[row])
        elif inputs.ndim == 2 and features is not None:
            _list(grid[row, 0], inputs[row], features)
        else:
            _draw_lines(grid[row, 0], inputs[row], channels if row == 0 else None)
    for place, name in enumerate(columns, start=1):
        grid[0, place].set_title(_literal(name), fontsize=9)
    places = [(row, place, name) for row in range(rows) for place, name in enumerate(columns, start=1)]
    return figure, ((grid[row, place], row, columns[name][row]) for row, place, name in places)


def _literal(text: str) -> str:
    """Return a name with its dollar signs escaped, because matplotlib reads text between two of them as a formula."""
    return text.replace("$", r"\$")


def _draw_attributions(axes: Axes, values: Tensor) -> None:
    axes.axis("off")
    flat = values.sum(dim=0)
    magnitudes = flat[flat.isfinite()].abs()
    # A picture needs a range even if all values are 0.
    limit = (float(magnitudes.max()) if len(magnitudes) else 0.0) or 1.0
    axes.imshow(flat.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)


def _draw_image(axes: Axes, values: Tensor) -> None:
    axes.axis("off")
    shifted = values - values.min()
    # An image of a single value has no range to divide by.
    picture = shifted / shifted.max().clamp(min=1e-12)
    # Unless there are three, no channel is red, green or blue; the mean hides none of them.
    axes.imshow((picture.permute(1, 2, 0) if len(picture) == 3 else picture.mean(dim=0)).numpy(), cmap="gray")


def _draw_lines(axes: Axes, values: Tensor, channels: list[str] | None) -> None:
    """Draw a table's row as one line, or a series (channels, length) with one line for each channel."""
    lines = values[None] if values.ndim == 1 else values.reshape(len(values), -1)
    axes.tick_params(labelsize=6)
    for number, line in enumerate(lines):
        axes.plot(line.numpy(), linewidth=0.8, label=_literal(channels[number][:LETTERS]) if channels else None)
    if channels:
        axes.legend(fontsize=5)


def _draw_bars(axes: Axes, values: Tensor, sample: Tensor, features: list[str]) -> None:
    """Draw the features that count most, the largest on top."""
    axes.tick_params(labelsize=6)
    magnitudes = torch.where(values.isfinite(), values.abs(), -1.0)
    top = torch.topk(magnitudes, min(BARS, int((magnitudes >= 0).sum()))).indices.flip(0)
    colours = ["#b2182b" if values[i] > 0 else "#2166ac" for i in top]
    # Bars stand at numbers and not at names, since two shortened names may be equal.
    axes.barh(range(len(top)), values[top].numpy(), color=colours)
    axes.set_yticks(range(len(top)), [_said(features[i], sample[i]) for i in top.tolist()])


def _list(axes: Axes, sample: Tensor, features: list[str]) -> None:
    """List a table's values as text: they have no common unit, so they cannot share an axis."""
    axes.axis("off")
    lines = [_said(name, value) for name, value in zip(features, sample, strict=True)]
    if len(lines) > LISTED:
        lines = [*lines[: LISTED - 1], f"and {len(lines) - LISTED + 1} more"]
    axes.text(0, 1, "\n".join(lines), fontsize=6, va="top", transform=axes.transAxes)


def _said(name: str, value: Tensor) -> str:
    return f"{_literal(name[:LETTERS])} = {float(value):.4g}"
