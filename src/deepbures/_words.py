"""Numbers in words, for whatever shows them: command line and reports."""

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
