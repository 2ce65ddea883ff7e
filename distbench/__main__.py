"""`python -m distbench`."""

import sys

from distbench.cli import main

if __name__ == "__main__":
    sys.exit(main())
