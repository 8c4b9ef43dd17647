"""`python -m etlkit.runs [RUN_ID]`: the history of runs. See `etlkit.cli.runs`."""

import sys

from etlkit.cli.runs import main

if __name__ == "__main__":
    sys.exit(main())
