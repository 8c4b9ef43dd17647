"""Every SQL text of transfers and of the ledger, as pure functions: names in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from etlkit.api.lineage import RUN_ID, without_lineage
from etlkit.api.sink import PART, PARTS
from etlkit.api.source import ROW_ID
from etlkit.bigquery.names import TableName, is_table, literal
from etlkit.rows.columns import Column, quoted
from etlkit.variables.sql_tokens import is_plain_query, one_query, statements, tokenize

EXPIRE_DAYS = 7
"""Work tables of a run that was never finished are gone after this."""


def expires() -> str:
    """The option with which a work table expires by itself."""
    interval = f"INTERVAL {EXPIRE_DAYS} DAY"
    return f"expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), {interval})"


SHARD = "_etlkit_shard"
"""INT64, in the frozen rows of a run that many workers share: a number from 0 to `NUM_SHARDS` - 1."""

NUM_SHARDS = 4096
"""Parts of the frozen rows, by their ids: each worker takes some, then others."""

_SHARD_DIGITS = 3


def shard_of(row_id: str) -> int:
    """The shard of a row: ids are random, so three hexadecimal digits spread them evenly."""
    return int(row_id[:_SHARD_DIGITS], 16)


def source_rows(query: str, limit: int | None) -> str:
    """The user's query with an id on every row, behind its temporary functions."""
    functions, select = one_query(query)
    return functions + _with_ids(select, limit)


def _with_ids(select: str, limit: int | None) -> str:
    rows = f"SELECT GENERATE_UUID() AS {ROW_ID}, q.* FROM (\n{select}\n) AS q"
    return rows if limit is None else f"{rows} LIMIT {limit}"


def snapshot(table: TableName, query: str, limit: int | None, *, with_shards: bool = False) -> str:
    """Freeze the source rows. `IF NOT EXISTS`: a repeat must not give new ids to the same rows.

    Args:
        table: Takes them.
        query: The user's.
        limit: Rows at most; None = all.
        with_shards: Whether many workers will read it, each some `SHARD`s.
    """
    functions, select = one_query(query)
    rows, clusters = _with_ids(select, limit), ""
    if with_shards:
        rows = f"SELECT *, {_shard_expression(ROW_ID)} AS {SHARD} FROM (\n{rows}\n)"
        clusters = f"CLUSTER BY {SHARD} "
    created = f"CREATE TABLE IF NOT EXISTS {table.sql} {clusters}OPTIONS({expires()})"
    return f"{functions}{created} AS\n{rows}"


def _shard_expression(row_id: str) -> str:
    return f"CAST(CONCAT('0x', SUBSTR({row_id}, 1, {_SHARD_DIGITS})) AS INT64)"


def shards_between(first: int, last: int) -> str:
    """A filter on the rows of neighbouring shards, as the Storage Read API takes it, too."""
    return f"{SHARD} BETWEEN {int(first)} AND {int(last)}"


def unsettled_shards(frozen: TableName, finished_ids: str | None) -> str:
    """The shards with rows that have no outcome yet, as `shard` and the number of these rows, `n`.

    Args:
        frozen: The frozen rows.
        finished_ids: A SELECT of the ids of rows that have one; None = none has.
    """
    where = f"WHERE {ROW_ID} NOT IN (\n{finished_ids}\n)\n" if finished_ids else ""
    return (
        f"SELECT {SHARD} AS shard, COUNT(*) AS n FROM {frozen.sql}\n{where}"
        "GROUP BY shard ORDER BY shard"
    )


def up_to_end(query: str) -> str:
    """The user's query without what follows it. Positions in it stay."""
    if is_plain_query(query):
        return query.rstrip()
    one_query(query)
    return query[: statements(tokenize(query))[-1][-1].end]


def query_of(table_or_query: str) -> str:
    """The query that reads a table, `dataset.table` or with its project; a query as it is."""
    name = table_or_query.strip().replace("`", "")
    return f"SELECT * FROM `{name}`" if is_table(name) else table_or_query


def sample_of(table_or_query: str, num_rows: int, seed: int) -> str:
    """Some rows of a table or query; which ones depends on what is in them, and on the seed."""
    functions, select = one_query(query_of(table_or_query))
    order = f"FARM_FINGERPRINT(CONCAT('{seed:d} ', TO_JSON_STRING(q)))"
    return f"{functions}SELECT q.* FROM (\n{select}\n) AS q ORDER BY {order} LIMIT {num_rows:d}"


def sample(
    table: TableName,
    population: TableName,
    columns: Sequence[Column],
    num_rows: int,
    seed: int,
    *,
    where: str = "",
) -> str:
    """Freeze some of the rows that are frozen already, with their ids.

    Every row has the same chance: TABLESAMPLE would take whole blocks. Which rows they are depends on
    what is in them and on the seed, not on their ids, which are new each time.

    Args:
        table: The sample.
        population: All rows.
        columns: Of them, without the id.
        num_rows: Rows to take, at most.
        seed: Another one gives other rows.
        where: What is true of the rows to choose from, of a table `t`; empty = all of them.
    """
    only = f" WHERE {where}" if where else ""
    values = ", ".join(f"t.{quoted(column.name)}" for column in columns)
    order = f"FARM_FINGERPRINT(CONCAT('{seed:d} ', TO_JSON_STRING(STRUCT({values}))))"
    return (
        f"CREATE TABLE IF NOT EXISTS {table.sql} OPTIONS({expires()}) AS\n"
        f"SELECT t.* FROM {population.sql} AS t{only} ORDER BY {order} LIMIT {num_rows:d}"
    )


def named_columns(query: str, names: Sequence[str]) -> str:
    """A query that is valid only if columns with these names can be written in SQL."""
    functions, select = one_query(query)
    chosen = ", ".join(f"q.{quoted(name)}" for name in names)
    return f"{functions}SELECT {chosen} FROM (\n{select}\n) AS q"


def snapshot_rejects(table: TableName, rejects: TableName, limit: int | None, *, only: bool) -> str:
    """Freeze the rows that run `@run_id` rejected, or those of error class `@only` among them."""
    chosen = " AND error_class = @only" if only else ""
    bound = "" if limit is None else f" LIMIT {limit}"
    return (
        f"CREATE TABLE IF NOT EXISTS {table.sql} OPTIONS({expires()}) AS\n"
        f"SELECT row_id AS {ROW_ID}, source_row FROM {rejects.sql}\n"
        f"WHERE run_id = @run_id{chosen}{bound}"
    )


def forget_rejects(rejects: TableName, run_id: str, finished_ids: str) -> str:
    """Take rows that a later run has finished out of the rejected rows of an earlier one."""
    return (
        f"DELETE FROM {rejects.sql} WHERE run_id = {literal(run_id)}\n"
        f"AND row_id IN (\n{finished_ids}\n)"
    )


def rows_by_id(frozen: TableName) -> str:
    """Frozen rows of the ids `@ids`."""
    return f"SELECT * FROM {frozen.sql} WHERE {ROW_ID} IN UNNEST(@ids)"


def rest(
    table: TableName,
    frozen: TableName,
    finished_ids: str,
    *,
    with_shards: bool = False,
    shards: tuple[int, int] | None = None,
) -> str:
    """The frozen rows that have no outcome yet.

    Args:
        table: Takes them.
        frozen: The frozen rows.
        finished_ids: A SELECT of the ids of rows that have one.
        with_shards: As in `snapshot`.
        shards: Only the rows of the first to the last of these; None = all.
    """
    where = "" if shards is None else f" AND frozen.{shards_between(*shards)}"
    clusters = f"CLUSTER BY {SHARD} " if with_shards else ""
    return (
        f"CREATE OR REPLACE TABLE {table.sql} {clusters}OPTIONS({expires()}) AS\n"
        f"SELECT frozen.* FROM {frozen.sql} AS frozen\n"
        f"LEFT JOIN (\n{finished_ids}\n) AS done ON frozen.{ROW_ID} = done.{ROW_ID}\n"
        f"WHERE done.{ROW_ID} IS NULL{where}"
    )


ATTEMPT = "_etlkit_attempt"
"""INT64, in work tables only: the attempt that staged the row. The latest attempt at a row counts, so
what a process stages after it lost its run changes nothing."""

STAGING_COLUMNS = (
    Column(ROW_ID, "STRING"),
    Column(ATTEMPT, "INT64"),
    Column(PART, "INT64"),
    Column(PARTS, "INT64"),
)
"""What stands before the target's columns in a staging table."""


@dataclass(frozen=True)
class Staged:
    """The work tables that hold what the rows of a run became.

    Attributes:
        tables: Staging tables with the target's columns that each has.
        rejects: The staging table of rejected rows; None = no row was rejected.
        run_id: The run, for target columns of lineage.
    """

    tables: tuple[tuple[TableName, tuple[Column, ...]], ...]
    rejects: TableName | None = None
    run_id: str = ""


def outcomes(staged: Staged) -> str:
    """What became of every source row: one row per id.

    Columns: `parts`, how many rows it became; `standing`, how many of them are staged; `rejected`.
    Staging is at least once, so the same part may be staged twice. A row whose parts are not all
    there was cut off by a crash and has no outcome yet.
    """
    queries = [
        f"SELECT {ROW_ID}, {ATTEMPT}, MIN({PARTS}) AS parts, COUNT(DISTINCT {PART}) AS standing, "
        f"FALSE AS rejected\nFROM ({_union(staged)})\nGROUP BY {ROW_ID}, {ATTEMPT}"
        if staged.tables
        else ""
    ]
    if staged.rejects is not None:
        queries.append(
            f"SELECT DISTINCT {ROW_ID}, {ATTEMPT}, 0 AS parts, 0 AS standing, TRUE AS rejected\n"
            f"FROM {staged.rejects.sql}"
        )
    union = "\nUNION ALL\n".join(filter(None, queries))
    return (
        f"SELECT * FROM (\n{union}\n) WHERE TRUE\n"
        f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {ROW_ID} "
        f"ORDER BY {ATTEMPT} DESC, rejected DESC) = 1"
    )


def _union(staged: Staged) -> str:
    return " UNION ALL ".join(
        f"SELECT {ROW_ID}, {ATTEMPT}, {PART}, {PARTS} FROM {table.sql}"
        for table, _ in staged.tables
    )


def finished_ids(staged: Staged) -> str:
    """The ids of all rows that have an outcome."""
    return (
        f"SELECT {ROW_ID} FROM (\n{outcomes(staged)}\n)\n"
        "WHERE rejected OR parts = 0 OR standing >= parts"
    )


def audit(staged: Staged) -> str:
    """Counts of source rows, in one row.

    `rejected`; `skipped`; `written` with their `parts`; and those among them that were cut off:
    `broken` with `broken_parts`. Beside them `staged`, the rows of all staging tables with all repeats.
    """
    counts = [f"(SELECT COUNT(*) FROM {table.sql})" for table, _ in staged.tables]
    return (
        "SELECT COUNTIF(rejected) AS rejected, COUNTIF(NOT rejected AND parts = 0) AS skipped,\n"
        "  COUNTIF(parts > 0) AS written, IFNULL(SUM(parts), 0) AS parts,\n"
        "  COUNTIF(parts > 0 AND standing < parts) AS broken,\n"
        "  IFNULL(SUM(IF(standing < parts, parts, 0)), 0) AS broken_parts,\n"
        f"  {' + '.join(counts) or '0'} AS staged\n"
        f"FROM (\n{outcomes(staged)}\n)"
    )


def staged_rows(
    staged: Staged,
    columns: Sequence[Column],
    *,
    with_ids: bool = False,
    skipped: bool = False,
) -> str:
    """The rows to publish: each part of each source row once.

    The latest attempt at a row counts. `MIN(parts)`: should one attempt have staged a row twice with
    different numbers of parts, one of the two is taken, never a mixture.

    Args:
        staged: The work tables.
        columns: The columns to give; one that a table lacks is null there.
        with_ids: Whether `STAGING_COLUMNS` come first.
        skipped: Whether to give skipped and rejected rows too, as one row without values.
    """
    own = without_lineage(columns)
    parts = [_parts_of(table, has, own) for table, has in staged.tables]
    if staged.rejects is not None:
        parts.append(_parts_of_rejects(staged.rejects, own))
    union = "\n  UNION ALL\n  ".join(parts)
    given = [*STAGING_COLUMNS, *columns] if with_ids else columns
    return (
        f"SELECT {_given(given, staged)} FROM (\n  {union}\n)\nWHERE TRUE\n"
        f"QUALIFY ROW_NUMBER() OVER (\n"
        f"    PARTITION BY {ROW_ID}, {PART} ORDER BY {ATTEMPT} DESC, {PARTS}) = 1\n"
        f"  AND {ATTEMPT} = MAX({ATTEMPT}) OVER (PARTITION BY {ROW_ID})\n"
        f"  AND {PARTS} = MIN({PARTS}) OVER (PARTITION BY {ROW_ID}, {ATTEMPT})\n"
        f"  AND {PARTS} >= {0 if skipped else 1}"
    )


def unrepeated_rows(staged: Staged, columns: Sequence[Column]) -> str:
    """As `staged_rows`, where the audit has found that no row is repeated: nothing is sorted.

    Args:
        staged: The work tables.
        columns: As there.
    """
    own = without_lineage(columns)
    union = "\n  UNION ALL\n  ".join(_parts_of(table, has, own) for table, has in staged.tables)
    return f"SELECT {_given(columns, staged)} FROM (\n  {union}\n) WHERE {PARTS} > 0"


def join_staging(table: TableName, columns: Sequence[Column], staged: Staged) -> str:
    """Copy staging tables into one. It is there with all their rows, or not at all.

    Args:
        table: Takes the rows.
        columns: All that the tables have beside `STAGING_COLUMNS`; nullable, as there.
        staged: The tables; rejected rows are not copied.
    """
    union = "\n  UNION ALL\n  ".join(_parts_of(each, has, columns) for each, has in staged.tables)
    clauses = f"OPTIONS({expires()}) AS\nSELECT * FROM (\n  {union}\n)"
    return create_table(table, (*STAGING_COLUMNS, *columns), clauses)


def _given(columns: Sequence[Column], staged: Staged) -> str:
    """The columns of staged rows; all rows of a run have its id."""
    run_id = f"{literal(staged.run_id)} AS {RUN_ID}"
    return ", ".join(run_id if c.name == RUN_ID else quoted(c.name) for c in columns)


def _parts_of(table: TableName, has: Sequence[Column], columns: Sequence[Column]) -> str:
    there = {column.name for column in has}
    chosen = [quoted(column.name) if column.name in there else _null(column) for column in columns]
    meta = [column.name for column in STAGING_COLUMNS]
    return f"SELECT {', '.join([*meta, *chosen])} FROM {table.sql}"


def _parts_of_rejects(rejects: TableName, columns: Sequence[Column]) -> str:
    """Rejected rows as rows without parts: they win over what an earlier attempt staged."""
    meta = [ROW_ID, ATTEMPT, f"0 AS {PART}", f"0 AS {PARTS}"]
    return f"SELECT {', '.join([*meta, *map(_null, columns)])} FROM {rejects.sql}"


def _null(column: Column) -> str:
    value = "[]" if column.mode == "REPEATED" else "NULL"
    return f"CAST({value} AS {column.ddl}) AS {quoted(column.name)}"


def no_rows(columns: Sequence[Column]) -> str:
    """A SELECT of no rows in these columns, to validate what reads them."""
    values = ", ".join(map(_null, columns)) or "NULL"
    return f"SELECT {values} LIMIT 0"


def distinct_partitions(rows: str, expression: str) -> str:
    """How many partitions rows go to, as `n`. Rows without a value go to one of their own.

    Args:
        rows: A SELECT of the rows.
        expression: What stands behind PARTITION BY.
    """
    return f"SELECT COUNT(DISTINCT IFNULL(CAST({expression} AS STRING), '')) AS n FROM (\n{rows}\n)"


def create_table(
    table: TableName, columns: Sequence[Column], clauses: str, *, replace: bool = False
) -> str:
    """Create an empty table with its whole definition; a repeat changes nothing.

    Args:
        table: The table.
        columns: With descriptions, if any.
        clauses: PARTITION BY, CLUSTER BY, OPTIONS.
        replace: Drop a table of that name first.
    """
    verb = "CREATE OR REPLACE TABLE" if replace else "CREATE TABLE IF NOT EXISTS"
    body = ",\n  ".join(column.definition for column in columns)
    return f"{verb} {table.sql} (\n  {body}\n)\n{clauses}"


def alter_columns(target: TableName, changes: Sequence[str]) -> list[str]:
    """One ALTER for all changes of a kind: BigQuery documents lists of one kind only.

    It takes 5 changes of a table's metadata in 10 seconds,
    https://cloud.google.com/bigquery/quotas#standard_tables

    Args:
        target: The table.
        changes: See `add_column`, `drop_column`, `set_type`, `drop_not_null`.
    """
    return [f"ALTER TABLE {target.sql}\n" + ",\n".join(same) for _, same in groupby(changes, _kind)]


def _kind(change: str) -> str:
    """What may stand in one list; each DROP NOT NULL has a list of its own."""
    if change.startswith("ALTER COLUMN"):
        return change if change.endswith(_DROP_NOT_NULL) else "ALTER COLUMN"
    return change.split(" ", 1)[0]


_DROP_NOT_NULL = "DROP NOT NULL"


def add_column(column: Column) -> str:
    """A change for `alter_columns`. New columns of a table are nullable."""
    return f"ADD COLUMN IF NOT EXISTS {quoted(column.name)} {column.parameterized_ddl}"


def drop_column(name: str) -> str:
    """A change for `alter_columns`."""
    return f"DROP COLUMN IF EXISTS {quoted(name)}"


def set_type(column: Column) -> str:
    """A change for `alter_columns`: a wider type."""
    return f"ALTER COLUMN {quoted(column.name)} SET DATA TYPE {column.parameterized_ddl}"


def drop_not_null(name: str) -> str:
    """A change for `alter_columns`."""
    return f"ALTER COLUMN {quoted(name)} {_DROP_NOT_NULL}"


def set_options(target: TableName, options: str) -> str:
    """Change description, labels and the like of a table that is there."""
    return f"ALTER TABLE {target.sql} SET OPTIONS({options})"


def swap_in(new: TableName, target: TableName) -> str:
    """Put a finished table in the place of another one.

    The name of the new table says whether this is still to be done: a repeat changes nothing, and a
    process that wakes up late cannot drop the table that is already in place.
    """
    return (
        f"IF EXISTS (\n  SELECT 1 FROM `{new.project}.{new.dataset}.INFORMATION_SCHEMA.TABLES`\n"
        f"  WHERE table_name = {literal(new.table)}\n) THEN\n"
        f"  DROP TABLE IF EXISTS {target.sql};\n"
        f"  ALTER TABLE {new.sql} RENAME TO {quoted(target.table)};\nEND IF"
    )


def user_dml(text: str) -> list[str]:
    """The statements of the user's DML, without semicolons and comments behind them."""
    return [text[part[0].start : part[-1].end] for part in statements(tokenize(text))]


REPEATED = "etlkit: there are more staged rows than the audit has counted"
"""Raised by an INSERT of exactly as many rows."""


def insert(
    target: TableName, columns: Sequence[Column], rows: str, exactly: int | None = None
) -> str:
    """Add the rows.

    Args:
        target: The table.
        columns: Of the rows.
        rows: A SELECT of them.
        exactly: How many there must be, else `REPEATED` is raised; None = any number.
    """
    text = f"INSERT INTO {target.sql} ({names_of(columns)})\n{rows}"
    if exactly is None:
        return text
    return (
        f"{text};\nIF IFNULL(@@row_count, -1) != {int(exactly)} THEN\n"
        f"  RAISE USING MESSAGE = {literal(REPEATED)};\nEND IF"
    )


def empty(target: TableName, partition_filter: str | None) -> str:
    """Delete all rows, as DML that a transaction may hold.

    Args:
        target: The table.
        partition_filter: A filter that is true of every row; None = the table requires none.
            TRUNCATE is refused where one is required, see
            https://cloud.google.com/bigquery/docs/reference/standard-sql/dml-syntax#truncate_table_statement
    """
    if partition_filter is None:
        return f"TRUNCATE TABLE {target.sql}"
    return f"DELETE FROM {target.sql} AS T WHERE {partition_filter}"


def any_partition(column: str | None) -> str:
    """A filter on the partitions of `T` that is true of every row.

    Tables with `require_partition_filter` ask for one:
    https://cloud.google.com/bigquery/docs/querying-partitioned-tables#require_a_partition_filter_in_queries

    Args:
        column: The partitioning column; None = partitions go by the time of loading. That column
            is written without `T`: the local server knows it in no other way, and no other table
            of the statements has it.
    """
    name = "_PARTITIONTIME" if column is None else f"T.{quoted(column)}"
    return f"({name} IS NULL OR {name} IS NOT NULL)"


def merge(
    target: TableName,
    columns: Sequence[Column],
    rows: str,
    keys: Sequence[str],
    update: Sequence[str] | None,
    partition_filter: str | None = None,
) -> str:
    """Update rows that are there by `keys`, insert the others.

    Args:
        target: The table.
        columns: Of the rows.
        rows: A SELECT.
        keys: Columns that name a row; nulls are equal to each other.
        update: Columns to update; None = all but the keys.
        partition_filter: See `empty`.
    """
    on = same_keys(keys) + ("" if partition_filter is None else f" AND {partition_filter}")
    names = [c.name for c in columns if c.name not in keys] if update is None else list(update)
    sets = ", ".join(f"{quoted(name)} = S.{quoted(name)}" for name in names)
    matched = f"WHEN MATCHED THEN UPDATE SET {sets}\n" if sets else ""
    values = ", ".join(f"S.{quoted(column.name)}" for column in columns)
    return (
        f"MERGE INTO {target.sql} AS T\nUSING (\n{rows}\n) AS S\nON {on}\n{matched}"
        f"WHEN NOT MATCHED THEN INSERT ({names_of(columns)}) VALUES ({values})"
    )


def same_keys(keys: Sequence[str]) -> str:
    """A null-safe comparison of `T` and `S` in a form that BigQuery can join on.

    `IS NOT DISTINCT FROM` may be refused in the ON of a MERGE.
    """
    return " AND ".join(
        f"(T.{k} = S.{k} OR (T.{k} IS NULL AND S.{k} IS NULL))" for k in map(quoted, keys)
    )


def repeated_keys(rows: str, keys: Sequence[str], limit: int) -> str:
    """Merge keys that more than one of the rows has: a few of them, with their number."""
    names = ", ".join(map(quoted, keys))
    return (
        f"SELECT {names}, COUNT(*) AS times FROM (\n{rows}\n)\n"
        f"GROUP BY {names} HAVING COUNT(*) > 1 LIMIT {limit}"
    )


# The events of the shards of a run. See `etlkit.bigquery.shards.shard_log`.

SHARD_EVENT_COLUMNS = (
    Column("event_at", "TIMESTAMP", description="By BigQuery's clock"),
    Column("number", "INT64", description="Order of the events that one worker told together"),
    Column("attempt", "INT64", description="Attempt at the run; earlier ones' events are history"),
    Column(
        "kind", "STRING", description="opened, joined, claimed, released, settled, left, lost, …"
    ),
    Column("worker", "STRING", description="Id of the worker; empty = the run itself"),
    Column("first", "INT64", description="The first shard"),
    Column("last", "INT64", description="The last shard"),
    Column("generation", "INT64", description="How often the shards were worked on"),
    Column("source", "STRING", description="The table they are read from"),
    Column("fraction", "FLOAT64", description="Of share: the part of every rate it may use"),
    Column("calls", "INT64", description="Of budget: calls that it may make in all"),
    Column("cost", "FLOAT64", description="Of budget: what they may cost"),
    Column("rows", "INT64", description="Of settled: rows that got their outcome"),
    Column("service", "STRING", description="Of down and up: which one it is"),
    Column("host", "STRING", description="Of joined: where the worker runs"),
)


def insert_shard_events(table: TableName) -> str:
    """Add events, a JSON array of objects in `@events`; their keys are columns' names."""
    own = SHARD_EVENT_COLUMNS[1:]
    names = ", ".join(f"`{column.name}`" for column in own)
    values = ", ".join(
        f"JSON_VALUE(told, '$.{c.name}')"
        if c.type == "STRING"
        else f"CAST(JSON_VALUE(told, '$.{c.name}') AS {c.type})"
        for c in own
    )
    return (
        f"INSERT INTO {table.sql} (event_at, {names})\nSELECT CURRENT_TIMESTAMP(), {values}\n"
        "FROM UNNEST(JSON_QUERY_ARRAY(PARSE_JSON(@events))) AS told"
    )


def shard_events(table: TableName, *, every_attempt: bool) -> str:
    """Events, the oldest first, with BigQuery's time as `now`, and the `highest` generation of all.

    Args:
        table: Where they are.
        every_attempt: Whether those of all attempts are wanted, and not those of the latest only: a run
            that is resumed often has many.
    """
    names = ", ".join(f"`{column.name}`" for column in SHARD_EVENT_COLUMNS)
    latest = "" if every_attempt else "WHERE TRUE QUALIFY attempt = MAX(attempt) OVER ()\n"
    return (
        f"SELECT {names}, CURRENT_TIMESTAMP() AS now, MAX(generation) OVER () AS highest\n"
        f"FROM {table.sql}\n{latest}ORDER BY event_at, worker, number"
    )


# The guard: one row that says who owns a run. See `etlkit.bigquery.runs.guard`.

GUARD_COLUMNS = (
    Column("owner", "STRING", description="Token of the attempt that may publish"),
    Column("attempt", "INT64", description="Grows at every take-over"),
    Column("state", "STRING", description="running or published"),
    Column("cleanup", "STRING", description="Statements to run after publishing; null = none"),
)

LOST = "etlkit: another process owns this run"
"""Raised by statements of a process that lost its run."""


LOST_PARENT = "etlkit: another process owns the run of the workflow"
"""Raised at the start of a task's run whose workflow's run was lost."""


@dataclass(frozen=True)
class Holding:
    """A guard, and the attempt that has to hold it."""

    guard: TableName
    owner: str


def _while_held(parent: Holding | None) -> str:
    """Raise `LOST_PARENT` if the workflow's run has another owner. It only looks: no conflicts."""
    if parent is None:
        return ""
    mine = f"owner = {literal(parent.owner)} AND state = 'running'"
    return (
        f"IF NOT EXISTS (SELECT 1 FROM {parent.guard.sql} WHERE {mine}) THEN\n"
        f"  RAISE USING MESSAGE = {literal(LOST_PARENT)};\nEND IF;\n"
    )


def start(
    guard: TableName,
    owner: str,
    attempt: int,
    events: TableName,
    then: str,
    parent: Holding | None = None,
) -> str:
    """Own a run that has no guard yet, or raise `LOST`: it may have been published a moment ago.

    Args:
        guard: The run's guard table, just created and empty.
        owner: The token of this attempt.
        attempt: Its number.
        events: The ledger's events.
        then: An INSERT of the event that tells of it; `@run_id` is the run.
        parent: The hold on the workflow's run whose task this run is; None = it is no task's.
    """
    return (
        f"BEGIN TRANSACTION;\n{_while_held(parent)}"
        f"IF EXISTS (SELECT 1 FROM {events.sql} WHERE run_id = @run_id AND event = 'published') "
        f"THEN\n  RAISE USING MESSAGE = {literal(LOST)};\nEND IF;\n"
        f"INSERT INTO {guard.sql} (owner, attempt, state)\n"
        f"VALUES ({literal(owner)}, {int(attempt)}, 'running');\n{then};\nCOMMIT TRANSACTION;"
    )


def take_over(
    guard: TableName, owner: str, attempt: int, then: str, parent: Holding | None = None
) -> str:
    """Own a run instead of its earlier attempt, or raise `LOST`. Arguments as of `start`."""
    mine = f"owner = {literal(owner)} AND attempt = {int(attempt)} AND state = 'running'"
    return (
        "BEGIN TRANSACTION;\n"
        f"UPDATE {guard.sql} SET owner = {literal(owner)}, attempt = {int(attempt)}\n"
        f"WHERE attempt < {int(attempt)} AND state = 'running';\n"
        f"IF NOT EXISTS (SELECT 1 FROM {guard.sql} WHERE {mine}) THEN\n"
        f"  RAISE USING MESSAGE = {literal(LOST)};\nEND IF;\n"
        f"{_while_held(parent)}{then};\nCOMMIT TRANSACTION;"
    )


def fenced(guard: TableName, owner: str, statements: Sequence[str], cleanup: str | None) -> str:
    """Statements that run once, and only for the process that owns the run: all or nothing.

    The guard is changed first. Two publishers of one run conflict there, so BigQuery cancels one of
    them, and a process that lost the run raises before it changes anything. Sent again after it has
    succeeded, the text changes nothing.

    Args:
        guard: The run's guard table.
        owner: The token of this attempt.
        statements: DML.
        cleanup: Statements to run after publishing; None = none. They stay in the guard until it
            is dropped, so that a resume can finish them.
    """
    mine = f"owner = {literal(owner)}"
    kept = "NULL" if cleanup is None else literal(cleanup)
    body = ";\n".join(statements)
    return (
        "BEGIN TRANSACTION;\n"
        f"UPDATE {guard.sql} SET state = 'publishing', cleanup = {kept}\n"
        f"WHERE {mine} AND state = 'running';\n"
        f"IF EXISTS (SELECT 1 FROM {guard.sql} WHERE {mine} AND state = 'publishing') THEN\n"
        f"{body};\n"
        f"UPDATE {guard.sql} SET state = 'published' WHERE {mine};\n"
        f"ELSEIF NOT EXISTS (SELECT 1 FROM {guard.sql} WHERE {mine} AND state = 'published') THEN\n"
        f"  RAISE USING MESSAGE = {literal(LOST)};\n"
        "END IF;\nCOMMIT TRANSACTION;"
    )


def recorded(guard: TableName, owner: str, statements: Sequence[str]) -> str:
    """Statements that add to the ledger while the run goes on, only for the process that owns it.

    The guard is changed first, as in `fenced`, and its state stays `running`.

    Args:
        guard: The run's guard table.
        owner: The token of this attempt.
        statements: INSERTs that change nothing when they are repeated.
    """
    mine = f"owner = {literal(owner)} AND state = 'running'"
    body = ";\n".join(statements)
    return (
        "BEGIN TRANSACTION;\n"
        f"UPDATE {guard.sql} SET state = 'running' WHERE {mine};\n"
        f"IF NOT EXISTS (SELECT 1 FROM {guard.sql} WHERE {mine}) THEN\n"
        f"  RAISE USING MESSAGE = {literal(LOST)};\nEND IF;\n"
        f"{body};\nCOMMIT TRANSACTION;"
    )


def revoke(guard: TableName, owner: str) -> str:
    """Take a run that is not published from its attempt, which can then no longer publish it.

    Args:
        guard: The run's guard table.
        owner: A token that no attempt has.
    """
    return f"UPDATE {guard.sql} SET owner = {literal(owner)} WHERE state = 'running'"


def guard_row(guard: TableName) -> str:
    """The guard's row, with BigQuery's time as `now`."""
    return f"SELECT owner, attempt, state, cleanup FROM {guard.sql}"


NOW = "SELECT CURRENT_TIMESTAMP() AS now"
"""BigQuery's clock."""


# The ledger: events, and a view of the latest state of each run. See `etlkit.bigquery.runs.ledger`.


_JSON = ("variables", "report")

_REPEATED_WITHIN = "INTERVAL 2 DAY"
"""A request that is sent again comes within minutes: only the latest partitions are read."""


def insert_event(events: TableName, names: Sequence[str]) -> str:
    """Add an event whose values are the query parameters of the same names.

    `wide_number_mode`: BigQuery refuses floats that do not come back as the same text.
    """
    values = [
        f"PARSE_JSON(@{name}, wide_number_mode => 'round')" if name in _JSON else f"@{name}"
        for name in names
    ]
    return (
        f"INSERT INTO {events.sql} (event_at, {', '.join(names)})\n"
        f"VALUES (CURRENT_TIMESTAMP(), {', '.join(values)})"
    )


TASK_EVENT = "task_"
"""How the events of tasks begin, e.g. `task_succeeded`: events of the workflow's run, not its end."""


def insert_task_events(events: TableName, common: Sequence[str], own: Sequence[Column]) -> str:
    """Add the ends of tasks that this attempt has not recorded yet.

    Args:
        events: The ledger's events.
        common: Columns with one value for all; query parameters of the same names, `run_id` and
            `owner` among them.
        own: Columns that each task has its own value of: keys of the objects in the JSON array
            `@tasks`, `task` and `event` among them. A task that failed may end again, in another way.
    """
    names = ", ".join(quoted(name) for name in [*common, *(column.name for column in own)])
    values = ", ".join([*(f"@{name}" for name in common), *map(_json_value, own)])
    return (
        f"INSERT INTO {events.sql} (event_at, {names})\n"
        f"SELECT CURRENT_TIMESTAMP(), {values}\n"
        "FROM UNNEST(JSON_QUERY_ARRAY(PARSE_JSON(@tasks, wide_number_mode => 'round'))) AS ended\n"
        "WHERE CONCAT(JSON_VALUE(ended, '$.event'), ' ', JSON_VALUE(ended, '$.task')) NOT IN (\n"
        f"  SELECT CONCAT(event, ' ', task) FROM {events.sql}\n"
        f"  WHERE event_at > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), {_REPEATED_WITHIN})\n"
        f"    AND run_id = @run_id AND owner = @owner AND STARTS_WITH(event, '{TASK_EVENT}')\n)"
    )


def _json_value(column: Column) -> str:
    path = f"'$.{column.name}'"
    if column.type == "JSON":
        return f"JSON_QUERY(ended, {path})"
    value = f"JSON_VALUE(ended, {path})"
    return value if column.type == "STRING" else f"CAST({value} AS {column.type})"


def workflow_events(events: TableName, names: Sequence[str]) -> str:
    """All that happened to the runs `@run_ids` of workflows, and to the runs of their tasks, in order.

    Args:
        events: The ledger's events. Those from before `@since` are not looked for.
        names: The columns to give; JSON comes as text.
    """
    chosen = ", ".join(
        f"TO_JSON_STRING({name}) AS {name}" if name in _JSON else quoted(name) for name in names
    )
    return (
        f"SELECT {chosen} FROM {events.sql}\n"
        "WHERE event_at >= @since\n"
        "  AND (run_id IN UNNEST(@run_ids) OR parent_run_id IN UNNEST(@run_ids))\n"
        "ORDER BY event_at, attempt, event != 'started', task"
    )


def runs_view(events: TableName) -> str:
    """The latest state of every run. A run that is published stays published."""
    columns = (
        "run_id, job, IF(event = 'started', 'running', event) AS state, mode, target, `read`, "
        "written, skipped, rejected, rows_published, error, attempt, fingerprint, code, revision, "
        "variables, "
        "retry_of, parent_run_id, task, seconds, bytes_billed, cost, report, "
        "owner, host, pid, etlkit_version, started_at, event_at AS updated_at, "
        "IF(event = 'started', NULL, event_at) AS finished_at, "
        "MIN(event_at) OVER (PARTITION BY run_id) AS began_at"
    )
    return (
        f"SELECT {columns}\nFROM {events.sql}\nWHERE NOT STARTS_WITH(event, '{TASK_EVENT}')\n"
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY run_id ORDER BY event = 'published' DESC, "
        "attempt DESC, event != 'started' DESC, event_at DESC) = 1"
    )


def find_runs(
    runs: TableName, names: Sequence[str], where: str, *, latest: int | None = None
) -> str:
    """Runs in the order in which they began, with BigQuery's time as `now`.

    By BigQuery's clock: run ids tell the time of the machine that made them.

    Args:
        runs: The view.
        names: The columns to give; each costs.
        where: A condition over the view's columns and query parameters.
        latest: Give at most this many, the newest first; None = all, the oldest first.
    """
    chosen = ", ".join(
        f"TO_JSON_STRING({name}) AS {name}" if name == "report" else quoted(name) for name in names
    )
    order = "began_at, run_id" if latest is None else "began_at DESC, run_id DESC"
    limit = "" if latest is None else f" LIMIT {int(latest)}"
    return (
        f"SELECT {chosen}, CURRENT_TIMESTAMP() AS now FROM {runs.sql}\nWHERE {where}\n"
        f"ORDER BY {order}{limit}"
    )


def migrate_ledger(old: TableName, events: TableName, names: Sequence[str]) -> str:
    """Copy the rows of the ledger's first form, one mutable row a run, that are not copied yet."""
    chosen = ", ".join(quoted(name) for name in names)
    return (
        f"INSERT INTO {events.sql} (event_at, event, {chosen})\n"
        "SELECT IFNULL(old.finished_at, old.updated_at),\n"
        "  IF(old.state IN ('starting', 'running'), 'started', old.state),\n"
        f"  {', '.join(f'old.{quoted(name)}' for name in names)}\n"
        f"FROM {old.sql} AS old\n"
        f"WHERE old.run_id NOT IN (SELECT run_id FROM {events.sql})"
    )


# Rejected rows.


def insert_rejects(
    rejects: TableName, staged: Staged, run_id: str, columns: Sequence[Column]
) -> str:
    """Add the rejected rows of a run to the target's table of rejected rows, each once."""
    if staged.rejects is None:
        raise ValueError("no row was rejected")
    names = names_of(columns)
    return (
        f"INSERT INTO {rejects.sql} (run_id, row_id, {names})\n"
        f"SELECT {literal(run_id)}, {ROW_ID}, {names} FROM {staged.rejects.sql}\n"
        f"WHERE {ROW_ID} IN (\n"
        f"  SELECT {ROW_ID} FROM (\n{outcomes(staged)}\n) WHERE rejected\n)\n"
        f"QUALIFY ROW_NUMBER() OVER (\n"
        f"    PARTITION BY {ROW_ID} ORDER BY {ATTEMPT} DESC, rejected_at) = 1"
    )


def names_of(columns: Sequence[Column]) -> str:
    """Quoted names, as they stand in an INSERT."""
    return ", ".join(quoted(column.name) for column in columns)
