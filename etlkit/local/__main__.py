"""`python -m etlkit.local`: buckets, SQL and the server of the local world."""

from etlkit.cli.local import main

if __name__ == "__main__":
    main(prog_name="python -m etlkit.local")
