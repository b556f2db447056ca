"""`python -m fastfc` is `fastfc`."""

import sys

from fastfc.cli import main

if __name__ == "__main__":
    sys.exit(main())
