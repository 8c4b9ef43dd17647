"""`python -m etlkit.run TARGET`: run a job. See `etlkit.cli.run`."""

import sys

from etlkit.cli.run import main

if __name__ == "__main__":
    sys.exit(main())
