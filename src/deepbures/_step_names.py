"""The names of step sizes of descent, for Python and the command line. It loads nothing."""

STEP_SIZES = ("sharpness", "certified", "monotone", "accelerated")
"""Names accepted as a step size."""

STEP_SIZES_IN_WORDS = ", ".join(f'"{name}"' for name in STEP_SIZES)
"""The same, as a sentence lists them."""
