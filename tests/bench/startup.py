"""How long it takes until something happens: `python -m tests.bench.startup`.

Each is a process of its own, the best of several, in turns.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from etlkit import local_world
from tests.bench.figures import Figure

TIMES = 5
ROOT = Path(__file__).parents[2]

JOB = """
from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob

class Etl(EtlBase):
    def transform_row(self, row):
        row["n"] += 1
        return row

job = TransferJob(
    source=BigQuerySource("SELECT n FROM UNNEST(GENERATE_ARRAY(1, 5)) AS n"),
    transform=Etl,
    sink=BigQuerySink("bench.five_rows", mode="replace", create_dataset=True),
)
"""


def figures() -> list[Figure]:
    """The times of all of them, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "five_rows.py").write_text(JOB)
        local = Path(folder) / ".etlkit"
        with local_world(local):  # so that the server is there
            job = ["-m", "etlkit.run", "five_rows", "--local", "--local-dir", str(local)]
            seconds_of([job], folder, times=1)
            imports = "import google.cloud.bigquery, pyarrow; pyarrow.array([1])"
            hidden = Path(folder) / "hidden"
            hidden.mkdir()
            (hidden / "pandas.py").write_text("raise ImportError")
            without = f"import sys; sys.path.insert(0, {str(hidden)!r}); {imports}"
            ways = [job, ["-c", imports], ["-c", without]]
            warm, clients, without_pandas = seconds_of(ways, folder)
        commands = {
            "bare": ["-c", "pass"],
            "help": ["-m", "etlkit.run", "--help"],
            "import": ["-c", "import etlkit"],
            "testing": ["-c", "import etlkit.testing"],
        }
        spent = dict(zip(commands, seconds_of([*commands.values()], folder), strict=True))
    bare = min(spent["bare"])
    return [
        _figure("help", "`etlkit run --help`", spent["help"], 0.0, {"python": bare}, 0.15),
        _figure("import", "`import etlkit`, over bare Python", spent["import"], bare, {}, 0.02),
        _figure("testing", "`import etlkit.testing`, over bare Python", spent["testing"], bare, {}),
        _figure(
            "warm_job",
            "a job of 5 rows, its local server running",
            warm,
            0.0,
            {
                "its imports of Google's clients and pyarrow alone": min(clients),
                "without pandas": min(without_pandas),
            },
            1.0,
        ),
    ]


def _figure(
    key: str,
    title: str,
    spent: Sequence[float],
    minus: float,
    beside: Mapping[str, float],
    goal: float | None = None,
) -> Figure:
    runs = tuple(round(max(0.0, each - minus), 3) for each in spent)
    shown = {name: round(value, 3) for name, value in beside.items()}
    return Figure(f"startup.{key}", title, min(runs), "s", goal, beside=shown, runs=runs)


def seconds_of(
    commands: Sequence[Sequence[str]], folder: str, times: int = TIMES
) -> list[list[float]]:
    """Seconds of each of some command lines of Python, `times` times, in turns."""
    spent: list[list[float]] = [[] for _ in commands]
    for _ in range(times):
        for each, command in zip(spent, commands, strict=True):
            began = time.monotonic()
            subprocess.run(
                [sys.executable, *command],
                cwd=folder,
                env=_environ(folder),
                check=True,
                capture_output=True,
            )
            each.append(time.monotonic() - began)
    return spent


def _environ(folder: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}


def main() -> None:
    """Print the figures."""
    for each in figures():
        print(f"{each.title}: {each.value:.3f} s   {each.beside or ''}   {each.runs}")


if __name__ == "__main__":
    main()
