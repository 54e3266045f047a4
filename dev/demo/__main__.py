"""`python -m dev.demo`, and what `forklore demo` calls."""

import sys

from dev.demo.run import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
