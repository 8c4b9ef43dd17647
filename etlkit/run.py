"""`python -m etlkit.run`: the same as `etlkit run`. See `etlkit.cli.run`."""

import sys

from etlkit.cli.run import main

if __name__ == "__main__":
    sys.exit(main())
