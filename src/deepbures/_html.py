"""Self-contained pages: the templates of the package, and figures as part of a page."""

import functools
import re
from importlib import resources
from typing import Any

import deepbures
from deepbures import plot

try:
    import jinja2
    from markupsafe import Markup, escape
except ImportError as error:
    raise ImportError(
        f'Pages need jinja2, which could not be imported ({error}): pip install "deepbures[plot]"'
    ) from None


def _read(name: str) -> str:
    return resources.files(deepbures).joinpath("templates", name).read_text(encoding="utf-8")


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        loader=jinja2.FunctionLoader(_read),
    )


def render(template: str, **content: Any) -> str:
    """A template of the package, filled in: text is escaped, what is missing is an error."""
    return _environment().get_template(template).render(version=deepbures.__version__, **content)


def inline_svg(svg: str, prefix: str, label: str) -> Any:
    """An SVG made part of a page: identifiers unique in it, colors of its theme, a text for who cannot see it."""
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(url\(#|xlink:href="#)', rf"\g<1>{prefix}-", svg)
    for name, color in plot.PALETTE.items():
        svg = re.sub(rf"{color}(?![0-9a-f])", f"var(--{name}, {color})", svg)
    head = f'<svg role="img" aria-label="{escape(label)}"'
    return Markup(head + svg.removeprefix("<svg"))
