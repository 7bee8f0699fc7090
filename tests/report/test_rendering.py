"""What templates write: every text escaped, nothing left out in silence."""

import tomllib
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

import kdlab.report.rendering
from kdlab.report.rendering import render

ROOT = Path(__file__).parents[2]
TEMPLATES = Path(kdlab.report.rendering.__file__).parent / "templates"


def sweep_page(**values: object) -> str:
    whole: dict[str, object] = {
        "title": "",
        "counts": "",
        "several": False,
        "best": ([], []),
        "failed": [],
        "figures": [],
    }
    return render("sweep.html", **whole | values)


def test_text_is_escaped_and_markup_is_not() -> None:
    text = sweep_page(
        title="<b>\"'", counts="&", best=(["<i>"], [["<u>", "<s>"]]), figures=[("<q>", Markup("<em></em>"))]
    )
    assert "<h1>&lt;b&gt;&#34;&#39;</h1>" in text
    assert '<p class="quiet">&amp;</p>' in text
    assert '<th scope="col">&lt;i&gt;</th>' in text
    assert '<th scope="row">&lt;u&gt;</th><td>&lt;s&gt;</td>' in text
    assert "<h2>&lt;q&gt;</h2>" in text
    assert "<em></em>" in text


def test_a_value_that_a_template_needs_and_nobody_hands_in_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="failed"):
        render("sweep.html", title="", counts="", several=False, best=([], []), figures=[])


def test_templates_are_packed_with_the_package() -> None:
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["kdlab"]
    files = {file for pattern in packed for file in (ROOT / "kdlab").glob(pattern)}
    templates = [file for file in TEMPLATES.rglob("*") if file.is_file()]
    assert len(templates) >= 5
    assert set(templates) <= files
