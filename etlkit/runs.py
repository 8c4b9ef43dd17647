"""`python -m etlkit.runs`: the same as `etlkit runs`. See `etlkit.cli.runs`."""

import sys

from etlkit.cli.runs import main

if __name__ == "__main__":
    sys.exit(main())
