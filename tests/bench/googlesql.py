"""What GoogleSQL's analyzer costs: `python -m tests.bench.googlesql`.

It prints the processor time of a start with the compiled module in the cache, of statements that were
never seen, of the same statements under the tables of another run, of literal repetitions, and of the
first statement of a process if another process has seen it.
"""

import os
import secrets
import statistics
import string
import subprocess
import sys
import time
from collections.abc import Callable

from etlkit.local.bigquery import googlesql
from etlkit.local.bigquery.sql_catalog import Catalog, Table

COLUMNS = {
    "id": "INT64",
    "name": "STRING",
    "price": "NUMERIC",
    "made": "TIMESTAMP",
    "tags": "ARRAY<STRUCT<key STRING, value STRING>>",
}
STATEMENTS = (
    "SELECT id, UPPER(name) AS name, price * {n} AS price FROM {t} WHERE made > '2024-01-01'",
    "SELECT name, COUNT(*) AS n{n}, SUM(price) FROM {t} GROUP BY name HAVING COUNT(*) > {n}",
    "CREATE TABLE {t}_{n} AS SELECT t.id, g.key AS k{n} FROM {t} AS t, UNNEST(t.tags) AS g",
    "INSERT INTO {t} (id, name) SELECT id + {n}, CONCAT(name, 'x') FROM {t}",
    (
        "MERGE {t} AS a USING (SELECT * FROM {t} WHERE id = {n}) AS b ON a.id = b.id "
        "WHEN MATCHED THEN UPDATE SET name = b.name WHEN NOT MATCHED THEN INSERT ROW"
    ),
    "SELECT *, ROW_NUMBER() OVER (PARTITION BY name ORDER BY made DESC) AS r FROM {t} QUALIFY r > {n}",
)
ROUNDS = 20


def main() -> None:
    """Print the figures."""
    print(f"load of the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    unseen = "".join(secrets.choice(string.ascii_lowercase) for _ in range(12))
    print(f"first statement of a process: {start_s(unseen):.2f} s, with the imports")
    print(f"the same in another process: {start_s(unseen):.2f} s")
    catalog = Catalog(project="p")
    for run in ("20240101_000000000_aaaa0001", "20240102_111111111_bbbb0002"):
        for number in range(ROUNDS):
            catalog.add(
                Table.of(f"p.d.src_{run}_t{number}", {**COLUMNS, f"{unseen}{number}": "INT64"})
            )
    first = texts("20240101_000000000_aaaa0001")
    second = texts("20240102_111111111_bbbb0002")
    report("statements over tables that were never seen", first, catalog)
    report("the same statements of another run", second, catalog)
    report("the same texts again", second, catalog)


def texts(run: str) -> list[str]:
    """Different statements over tables with this id."""
    return [
        statement.format(n=number, t=f"d.src_{run}_t{number}")
        for number in range(ROUNDS)
        for statement in STATEMENTS
    ]


def report(title: str, statements: list[str], catalog: Catalog) -> None:
    """Analyze each statement and print what one costs."""
    costs = [cost_ms(lambda sql=sql: googlesql.analyze(sql, catalog, {})) for sql in statements]
    costs.sort()
    print(
        f"{title}: median {statistics.median(costs):.2f} ms, "
        f"95 % {costs[len(costs) * 95 // 100]:.2f} ms of processor time ({len(costs)} statements)"
    )


def cost_ms(call: Callable[[], object]) -> float:
    """Processor time of a call."""
    begin = time.process_time()
    call()
    return (time.process_time() - begin) * 1000


def start_s(name: str) -> float:
    """Processor time until a new process has analyzed its first statement."""
    code = (
        "import time; from etlkit.local.bigquery import googlesql as g; "
        "from etlkit.local.bigquery.sql_catalog import Catalog; "
        f"begin = time.process_time(); g.analyze('SELECT 1 AS {name}', Catalog(), {{}}); "
        "print(time.process_time() - begin)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
