"""``python -m cvxqueue``: the command line."""

import sys

from cvxqueue.cli import main

if __name__ == "__main__":
    sys.exit(main())
