"""`python -m deepbures`: the command line, where the command itself is not on the path."""

import sys

from deepbures.cli import main

if __name__ == "__main__":
    sys.exit(main())
