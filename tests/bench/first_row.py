"""From nothing to the first row: `python -m tests.bench.first_row`. It installs packages: minutes.

For each template: an environment, the installation, `etlkit init`, and the commands of the README that
it writes, to the end of the last one, which shows the rows. Beside it the quickstarts of dlt and dbt,
both with DuckDB, as far as they go without an account: https://dlthub.com/docs/intro and
https://docs.getdbt.com/guides/duckdb, whose project is cloned from GitHub. Here `dbt init` makes it.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEMPLATES = ("blank", "rest", "sql", "vision")


@dataclass(frozen=True)
class Way:
    """A way to a first row.

    Attributes:
        name: Whose it is.
        packages: What is installed.
        commands: After the installation.
        files: To be written by hand before: name and text.
        folder: Where the commands run, within the working directory; made by the first of them.
    """

    name: str
    packages: tuple[str, ...]
    commands: tuple[str, ...]
    files: tuple[tuple[str, str], ...] = ()
    folder: str = ""


def etlkit_way(template: str, python: Path, folder: Path) -> Way:
    """The way of one template, by the README of a project that is made for it."""
    init = f"etlkit init demo --template {template}"
    made = folder / f"readme_{template}"
    made.mkdir()
    run(init, made, python, made)
    readme = (made / "demo" / "README.md").read_text()
    commands = re.search(r"```sh\n(.*?)```", readme, re.DOTALL)
    if commands is None:
        raise RuntimeError(f"the README of {template} has no commands")
    shown = tuple(commands[1].strip().splitlines())
    return Way(f"etlkit, {template}", (f"{ROOT}[local]",), (init, *shown), folder="demo")


DLT = Way(
    "dlt, DuckDB",
    ("dlt[duckdb]",),
    ("python load.py", "python show.py"),
    (
        (
            "load.py",
            """import dlt

@dlt.resource(table_name="users")
def users():
    yield [{"id": 1, "name": "Alice"}, {"id": 2, "name": "Bob"}]

pipeline = dlt.pipeline(pipeline_name="demo", destination="duckdb", dataset_name="loaded")
print(pipeline.run(users()))
""",
        ),
        (
            "show.py",
            """import duckdb

print(duckdb.connect("demo.duckdb").sql("SELECT * FROM loaded.users"))
""",
        ),
    ),
)

DBT = Way(
    "dbt, DuckDB",
    # The parser of dbt-core 1.12 fetches a binary from GitHub when it is installed.
    ("dbt-core>=1.10,<1.12", "dbt-duckdb"),
    (
        "dbt init demo --skip-profile-setup",
        "dbt run",
        "dbt show --select my_first_dbt_model",
    ),
    (
        (
            "profiles.yml",
            "demo:\n  target: dev\n  outputs:\n    dev:\n      type: duckdb\n      path: demo.duckdb\n",
        ),
    ),
    folder="demo",
)


def run(command: str, folder: Path, python: Path, home: Path) -> float:
    """Run a command with the programs of an environment; gives seconds.

    Args:
        command: Of a shell.
        folder: Where it runs.
        python: Of the environment.
        home: Where the tools look for settings, and not where those of the user are.

    Raises:
        RuntimeError: It failed.
    """
    environ = {
        **os.environ,
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "",
        "DBT_PROFILES_DIR": str(home),
        "DLT_DATA_DIR": str(home),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
    began = time.perf_counter()
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr[-2000:] or done.stdout[-2000:]}")
    return time.perf_counter() - began


def install(packages: tuple[str, ...], folder: Path) -> tuple[Path, float]:
    """Make an environment with packages; gives its Python, and the seconds it took."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
    return python, time.perf_counter() - began


def go(way: Way, python: Path, folder: Path) -> list[float]:
    """Run the commands of a way in a new folder; gives the seconds of each."""
    folder.mkdir()
    for name, text in way.files:
        (folder / name).write_text(text)
    spent = []
    for command in way.commands:
        inside = folder / way.folder
        spent.append(run(command, inside if inside.is_dir() else folder, python, folder))
    return spent


def main() -> None:
    print("| | install | commands after that | files by hand | until the rows are shown | again |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        python, seconds = install((f"{ROOT}[local]",), folder / "etlkit")
        ways = [(etlkit_way(each, python, folder), python, seconds) for each in TEMPLATES]
        ways += [
            (other, *install(other.packages, folder / other.name.partition(",")[0]))
            for other in (DLT, DBT)
        ]
        for number, (way, python, seconds) in enumerate(ways):
            first = sum(go(way, python, folder / f"first_{number}"))
            again = sum(go(way, python, folder / f"again_{number}"))
            print(
                f"| {way.name} | {seconds:.0f} s | {len(way.commands)} | {len(way.files)} | "
                f"{first:.1f} s | {again:.1f} s |",
                flush=True,
            )


if __name__ == "__main__":
    main()
