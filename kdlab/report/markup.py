"""Building HTML and SVG so that nothing from data can be markup: text is escaped unless it was built here."""

from html import escape

VOID = {"meta", "img", "br", "circle", "line", "path", "rect", "polyline"}


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def safe(*parts: str) -> Markup:
    """Join parts, escaping those that are not markup."""
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in parts))


def element(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """Return ``<name attributes>children</name>``.

    Args:
        name: Of the element.
        children: Text, escaped, or markup.
        attributes: ``class_`` loses its closing underscore, others become hyphens; None is left out.
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    written = "".join(f' {key}="{escape(_text(value))}"' for key, value in given.items())
    if name in VOID:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{safe(*children)}</{name}>")


def table(head: list[str], rows: list[list[str]], **attributes: str) -> Markup:
    """Return a table in a frame that scrolls sideways; a row's first cell is its heading."""
    heads = [element("th", cell, scope="col") for cell in head]
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:])) for row in rows
    ]
    inner = element("table", element("thead", element("tr", *heads)), element("tbody", *body), **attributes)
    return element("div", inner, class_="wide", tabindex="0")


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
