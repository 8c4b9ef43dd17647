"""`python -m etlkit.local`: the same as `etlkit local`. See `etlkit.cli.local`."""

import sys

from etlkit.cli.local import main

if __name__ == "__main__":
    sys.exit(main())
