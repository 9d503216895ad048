"""``python -m arlab``."""

import sys

from arlab.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
