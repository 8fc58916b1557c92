"""Names that may become those of files: on every file system, and never a way out of the folder."""

import re

_LONGEST = 200  # the suffix, and what a temporary name adds, fit into the 255 bytes of most file systems


def is_file_name(name: object) -> bool:
    """Whether it consists of lower-case letters, digits, "-", "_", "=" and ".", and begins with a letter or digit."""
    return isinstance(name, str) and len(name) <= _LONGEST and re.fullmatch(r"[a-z0-9][a-z0-9._=-]*", name) is not None


def check_file_name(name: object, what: str) -> None:
    """Refuse other names."""
    if not is_file_name(name):
        raise ValueError(
            f"the name of {what} must be made of lower-case letters, digits and '-', '_', '=', '.', begin with a "
            f"letter or a digit, and have at most {_LONGEST} characters, but {name!r} was given."
        )
