"""An additive network as a picture: a curve a feature, a map a pair."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curve:
    """What one feature says: values (points,) of it, parts (points, classes)."""

    name: str
    values: Tensor
    parts: Tensor


@dataclass(frozen=True)
class HeatMap:
    """What two features say together: values (points,) of each, parts (points, points, classes)."""

    names: tuple[str, str]
    first: Tensor
    second: Tensor
    parts: Tensor


def as_figure(curves: Sequence[Curve], maps: Sequence[HeatMap], class_names: Sequence[str]) -> "Figure":
    """Draw the curves of all classes, then each map for the class it says most about, four in a row."""
    # The figure class and not pyplot, which would keep it open and choose a display.
    from matplotlib.figure import Figure

    columns = min(4, len(curves))
    lines = -(-len(curves) // columns)
    rows = lines + -(-len(maps) // columns)
    figure = Figure(figsize=(3 * columns, 2.2 * rows + 0.6), layout="constrained")
    for place, curve in enumerate(curves):
        axes = figure.add_subplot(rows, columns, place + 1)
        for number, name in enumerate(class_names):
            axes.plot(curve.values, curve.parts[:, number], label=name, linewidth=1)
        axes.set_title(curve.name, fontsize=8, parse_math=False)
        axes.tick_params(labelsize=6)
    handles = figure.axes[0].get_legend_handles_labels()
    for place, heat_map in enumerate(maps):
        axes = figure.add_subplot(rows, columns, lines * columns + place + 1)
        number = int(heat_map.parts.square().mean(dim=(0, 1)).argmax())
        parts = heat_map.parts[:, :, number]
        # The same colours on both sides of 0, also for a pair that says nothing yet.
        bound = max(float(parts.abs().max()), 1e-12)
        drawn = axes.pcolormesh(
            heat_map.first.numpy(), heat_map.second.numpy(), parts.T.numpy(), cmap="RdBu_r", vmin=-bound, vmax=bound
        )
        figure.colorbar(drawn, ax=axes).ax.tick_params(labelsize=6)
        axes.set_title(f"{' & '.join(heat_map.names)}: {class_names[number]}", fontsize=8, parse_math=False)
        axes.set_xlabel(heat_map.names[0], fontsize=6, parse_math=False)
        axes.set_ylabel(heat_map.names[1], fontsize=6, parse_math=False)
        axes.tick_params(labelsize=6)
    figure.legend(*handles, loc="outside upper center", ncols=8, fontsize=6)
    return figure
