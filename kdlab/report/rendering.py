"""Pages are rendered from templates that escape every text, so that nothing from data can be markup."""

from jinja2 import Environment, PackageLoader, StrictUndefined

_TEMPLATES = Environment(
    loader=PackageLoader("kdlab.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: object) -> str:
    """Return the page that a file of ``kdlab/report/templates`` makes of these values."""
    return _TEMPLATES.get_template(template).render(values)
