"""Numbers in words, for whatever shows them: messages, command line and reports."""

import math


def in_percent(share: float) -> str:
    """A share for readers: two decimals, and more where they would round to 100.

    Examples
    --------
    >>> from deepbures._words import in_percent
    >>> in_percent(0.79239), in_percent(0.99998), in_percent(1.0)
    ('79.24 %', '99.998 %', '100 %')
    """
    if share >= 1 - 1e-12:
        return f"{100 * share:.4g} %"
    decimals = 2 if share < 0.9999 else int(-math.log10(1 - share) - 1)
    return f"{100 * share:.{decimals}f} %".replace("-", "−")


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number of things, in words that agree with it: "1 column", "2 columns"."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def told(number: int, one: str, many: str, place: str) -> str:
    """A number of things, and where the first of them is."""
    return f"{counted(number, one, many)}, {'the first ' if number != 1 else ''}{place}"


def not_finite_message(name: str, number: int, place: str) -> str:
    """What to say of NaN and infinities."""
    one, many = "entry that is not finite (NaN or infinite)", "entries that are not finite (NaN or infinite)"
    return f"{name} has {told(number, one, many, place)}. Remove or impute {'it' if number == 1 else 'them'} first."
