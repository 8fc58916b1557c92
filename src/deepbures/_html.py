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


_NUMBER = re.compile(r"[-−]?(\d[\d.]*|∞)(e[-+]?\d+)?( × 10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?( %)?")


def is_number(text: str) -> bool:
    """Whether a text is one number, as `format_number`, Python or JSON write it.

    Examples
    --------
    >>> [is_number(text) for text in ("−6.6 × 10⁻⁸", "1e-07", "99.99 %", "2 → 12", "3.csv")]
    [True, True, True, False, False]
    """
    return _NUMBER.fullmatch(text) is not None


def _unbroken(value: Any) -> Any:
    """A number within a text stays on one line: no-break spaces around its ×, and before its %."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return re.sub(
            r"(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", re.sub(r" × (?=10)", "\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}", value)
        )
    return value


def _breakable(name: str) -> Any:
    """A dotted name that may go on in a new line after a dot or an underscore."""
    return Markup(re.sub(r"([._])", r"\1<wbr>", str(escape(name))))


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        finalize=_unbroken,
        loader=jinja2.FunctionLoader(_read),
    )
    environment.tests["a_number"] = is_number
    environment.filters["breakable"] = _breakable
    return environment


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
