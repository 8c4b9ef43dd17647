"""How long `etlkit check` takes for 100 files of SQL: `python -m tests.bench.check [FILES]`.

The files read 20 tables with schemas and the tables of one another. Each has joins, aggregates,
windows and a WITH, about 45 lines. The command is run as a user runs it, in a process of its own. The
first run may compile the analyzer; the later ones count.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NUM_TABLES = 20
NUM_RUNS = 3

COLUMNS = [
    ("id", "INTEGER"),
    ("customer", "STRING"),
    ("day", "DATE"),
    ("created", "TIMESTAMP"),
    ("price", "NUMERIC"),
    ("score", "FLOAT"),
    ("is_open", "BOOLEAN"),
    ("answer", "JSON"),
]

SQL = """\
-- Model {number}: sums and ranks of two tables and of an earlier model.
CREATE OR REPLACE TABLE mart.model_{number}
PARTITION BY day
CLUSTER BY customer AS
WITH
  orders AS (
    SELECT id, customer, day, price, SAFE_CAST(JSON_VALUE(answer, '$.amount') AS INT64) AS amount
    FROM raw.table_{left}
    WHERE day >= DATE '2024-01-01' AND is_open
  ),
  ranked AS (
    SELECT
      id,
      customer,
      score,
      ROW_NUMBER() OVER (PARTITION BY customer ORDER BY score DESC, created) AS rank
    FROM raw.table_{right}
    QUALIFY rank <= 10
  ),
  by_day AS (
    SELECT
      day,
      customer,
      COUNT(*) AS num_orders,
      SUM(price) AS total,
      ARRAY_AGG(STRUCT(id, amount) ORDER BY price DESC LIMIT 5) AS largest
    FROM orders
    GROUP BY day, customer
  )
SELECT
  by_day.day,
  customer,
  by_day.num_orders,
  by_day.total,
  by_day.largest[SAFE_OFFSET(0)].amount AS first_amount,
  ranked.rank,
  ranked.score,
  IF(ranked.score > {number} / 100, 'high', 'low') AS level,
  {earlier} AS earlier_total,
  FORMAT_DATE('%Y-%m', by_day.day) AS month
FROM by_day
LEFT JOIN ranked USING (customer)
{join}
WHERE by_day.total > 0;
"""


def main() -> None:
    num_files = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        write_project(project, num_files)
        for number in range(NUM_RUNS + 1):
            began = time.perf_counter()
            command = [
                sys.executable,
                "-c",
                "from etlkit.cli.root import main; raise SystemExit(main())",
            ]
            done = subprocess.run(
                [*command, "check", "sql", "--format", "json"],
                cwd=project,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                capture_output=True,
                text=True,
                check=False,
            )
            took = time.perf_counter() - began
            report = json.loads(done.stdout)
            states = {job["state"] for job in report["jobs"]}
            assert (done.returncode, states, len(report["jobs"])) == (0, {"ok"}, num_files), done
            what = "first run" if number == 0 else f"run {number}"
            seconds, load = report["seconds"], os.getloadavg()[0]
            print(
                f"{what}: {num_files} files, {report['num_statements']} statements: {took:.2f} s in "
                f"all, {seconds:.2f} s of it for the check; load {load:.1f}"
            )


def write_project(project: Path, num_files: int) -> None:
    for name in ("schemas", "sql"):
        (project / name).mkdir()
    for number in range(NUM_TABLES):
        fields = [{"name": name, "type": kind, "mode": "NULLABLE"} for name, kind in COLUMNS]
        (project / f"schemas/raw.table_{number}.json").write_text(json.dumps(fields))
    for number in range(num_files):
        is_first = number < 10
        join = f"LEFT JOIN mart.model_{number // 2} AS earlier USING (customer)"
        text = SQL.format(
            number=number,
            left=number % NUM_TABLES,
            right=(number * 7 + 3) % NUM_TABLES,
            earlier="CAST(NULL AS NUMERIC)" if is_first else "earlier.total",
            join="" if is_first else join,
        )
        (project / f"sql/model_{number:03}.sql").write_text(text)


if __name__ == "__main__":
    main()
