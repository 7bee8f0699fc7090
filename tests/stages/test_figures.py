"""Panels: a row a sample, the input first."""

import pytest
import torch

from kdlab.stages.figures import SAMPLES, attribution_panel, map_panel


def titles(count: int) -> list[str]:
    return [f"class {number}" for number in range(count)]


def test_maps_stand_behind_the_input_each_on_its_own_scale() -> None:
    maps = {"teacher\nblock1": torch.full((2, 4, 4), 8.0), "student\nblock1": torch.full((2, 2, 2), 0.5)}
    figure = map_panel(torch.rand(2, 1, 8, 8), maps, titles(2))
    axes = figure.get_axes()
    assert len(axes) == 2 * 3
    assert [ax.get_title() for ax in axes] == ["class 0", *maps, "class 1", "", ""]
    shown = [ax.get_images()[0] for ax in axes]
    assert [image.get_array().shape for image in shown[:3]] == [(8, 8), (4, 4), (2, 2)]  # type: ignore[union-attr]
    assert [image.get_clim() for image in shown[1:3]] == [(0.0, 8.0), (0.0, 0.5)]


@pytest.mark.parametrize("shape", [(30,), (2, 12), (3, 8, 8)])
def test_inputs_of_every_kind_are_drawn(shape: tuple[int, ...]) -> None:
    inputs = torch.rand(SAMPLES + 2, *shape)
    features = [f"feature {number}" for number in range(30)] if shape == (30,) else None
    maps = {"map": torch.rand(SAMPLES + 2, 5, 5)}
    assert len(map_panel(inputs, maps, titles(SAMPLES + 2)).get_axes()) == 2 * SAMPLES
    panel = attribution_panel(inputs, {"student": inputs - 0.5, "teacher": inputs}, titles(SAMPLES + 2), features)
    assert len(panel.get_axes()) == 3 * SAMPLES
    assert [ax.get_title() for ax in panel.get_axes()[:3]] == ["class 0", "student", "teacher"]


def test_a_tables_sample_is_listed_in_its_own_units_beside_what_counts() -> None:
    inputs = torch.tensor([[103.25, 0.5, 1.0]]).repeat(2, 1)
    attributions = torch.tensor([[0.1, -0.4, 0.2]]).repeat(2, 1)
    names = ["worst perimeter", "$age", "colour is red"]
    listed, bars, *_ = attribution_panel(inputs, {"student": attributions}, titles(2), names).get_axes()
    (text,) = listed.texts
    assert text.get_text().splitlines() == ["worst perimeter = 103.2", r"\$age = 0.5", "colour is red = 1"]
    # The strongest on top.
    assert [label.get_text() for label in bars.get_yticklabels()] == [
        "worst perimeter = 103.2",
        "colour is red = 1",
        r"\$age = 0.5",
    ]
    many = attribution_panel(torch.rand(1, 40), {}, titles(1), [f"f{number}" for number in range(40)])
    lines = many.get_axes()[0].texts[0].get_text().splitlines()
    assert (len(lines), lines[-1]) == (12, "and 29 more")
