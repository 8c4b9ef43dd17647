"""Nested expressions from a seed, of functions whose hand-written cases agree."""

from __future__ import annotations

import random
from typing import Final

LEAVES: Final = {
    "INT64": ("0", "1", "-1", "7", "-13", "1000003", "CAST(NULL AS INT64)"),
    "FLOAT64": ("0.5", "-2.25", "1e3", "3.0", "0.1", "CAST(NULL AS FLOAT64)"),
    "NUMERIC": ("NUMERIC '1.5'", "NUMERIC '-0.25'", "NUMERIC '100'", "CAST(NULL AS NUMERIC)"),
    "STRING": ("''", "'abc'", "'Hello World'", "'日本語'", "'a,b,c'", "CAST(NULL AS STRING)"),
    "BOOL": ("TRUE", "FALSE", "CAST(NULL AS BOOL)"),
    "DATE": ("DATE '2024-02-29'", "DATE '1969-12-31'", "DATE '2021-01-03'", "CAST(NULL AS DATE)"),
    "TIMESTAMP": (
        "TIMESTAMP '2024-02-29 12:34:56.789+00'",
        "TIMESTAMP '1969-12-31 23:59:59+00'",
        "CAST(NULL AS TIMESTAMP)",
    ),
    "ARRAY": ("[1, 2, 3]", "[5]", "CAST([] AS ARRAY<INT64>)"),
}

CALLS: Final = {
    "INT64": (
        ("({} + {})", "INT64", "INT64"),
        ("({} - {})", "INT64", "INT64"),
        ("({} * {})", "INT64", "INT64"),
        ("DIV({}, {})", "INT64", "INT64"),
        ("MOD({}, {})", "INT64", "INT64"),
        ("ABS({})", "INT64"),
        ("SIGN({})", "INT64"),
        ("CAST({} AS INT64)", "FLOAT64"),
        ("CAST({} AS INT64)", "NUMERIC"),
        ("CAST({} AS INT64)", "BOOL"),
        ("SAFE_CAST({} AS INT64)", "STRING"),
        ("LENGTH({})", "STRING"),
        ("BYTE_LENGTH({})", "STRING"),
        ("STRPOS({}, {})", "STRING", "STRING"),
        ("IF({}, {}, {})", "BOOL", "INT64", "INT64"),
        ("COALESCE({}, {})", "INT64", "INT64"),
        ("NULLIF({}, {})", "INT64", "INT64"),
        ("GREATEST({}, {})", "INT64", "INT64"),
        ("EXTRACT(YEAR FROM {})", "DATE"),
        ("EXTRACT(WEEK FROM {})", "DATE"),
        ("EXTRACT(DAYOFWEEK FROM {})", "TIMESTAMP"),
        ("DATE_DIFF({}, {}, DAY)", "DATE", "DATE"),
        ("DATE_DIFF({}, {}, WEEK)", "DATE", "DATE"),
        ("TIMESTAMP_DIFF({}, {}, HOUR)", "TIMESTAMP", "TIMESTAMP"),
        ("UNIX_SECONDS({})", "TIMESTAMP"),
        ("ARRAY_LENGTH({})", "ARRAY"),
        ("{}[SAFE_OFFSET({})]", "ARRAY", "INT64"),
        ("(SELECT SUM(x) FROM UNNEST({}) AS x)", "ARRAY"),
        ("(SELECT COUNTIF(x > {}) FROM UNNEST({}) AS x)", "INT64", "ARRAY"),
        ("SAFE_ADD({}, {})", "INT64", "INT64"),
    ),
    "FLOAT64": (
        ("({} + {})", "FLOAT64", "FLOAT64"),
        ("({} * {})", "FLOAT64", "INT64"),
        ("({} / {})", "INT64", "INT64"),
        ("({} / {})", "FLOAT64", "FLOAT64"),
        ("SAFE_DIVIDE({}, {})", "INT64", "INT64"),
        ("CAST({} AS FLOAT64)", "INT64"),
        ("CAST({} AS FLOAT64)", "NUMERIC"),
        ("ROUND({})", "FLOAT64"),
        ("FLOOR({})", "FLOAT64"),
        ("TRUNC({})", "FLOAT64"),
        ("SQRT(ABS({}))", "FLOAT64"),
        ("(SELECT AVG(x) FROM UNNEST({}) AS x)", "ARRAY"),
        ("IFNULL({}, {})", "FLOAT64", "FLOAT64"),
    ),
    "NUMERIC": (
        ("({} + {})", "NUMERIC", "NUMERIC"),
        ("({} - {})", "NUMERIC", "INT64"),
        ("ROUND({}, 1)", "NUMERIC"),
        ("CAST({} AS NUMERIC)", "INT64"),
        ("ABS({})", "NUMERIC"),
    ),
    "STRING": (
        ("CONCAT({}, {})", "STRING", "STRING"),
        ("({} || {})", "STRING", "STRING"),
        ("UPPER({})", "STRING"),
        ("REVERSE({})", "STRING"),
        ("TRIM({})", "STRING"),
        ("SUBSTR({}, {})", "STRING", "INT64"),
        ("REPLACE({}, {}, {})", "STRING", "STRING", "STRING"),
        ("CAST({} AS STRING)", "INT64"),
        ("CAST({} AS STRING)", "FLOAT64"),
        ("CAST({} AS STRING)", "NUMERIC"),
        ("CAST({} AS STRING)", "BOOL"),
        ("CAST({} AS STRING)", "DATE"),
        ("CAST({} AS STRING)", "TIMESTAMP"),
        ("FORMAT_DATE('%Y-%m-%d', {})", "DATE"),
        ("FORMAT('%d', {})", "INT64"),
        ("LPAD({}, 5, '*')", "STRING"),
        ("REGEXP_REPLACE({}, r'[a-c]', '<>')", "STRING"),
        ("IF({}, {}, {})", "BOOL", "STRING", "STRING"),
        ("TO_JSON_STRING({})", "INT64"),
        ("(SELECT STRING_AGG(CAST(x AS STRING), '-' ORDER BY x) FROM UNNEST({}) AS x)", "ARRAY"),
    ),
    "BOOL": (
        ("({} AND {})", "BOOL", "BOOL"),
        ("({} OR {})", "BOOL", "BOOL"),
        ("(NOT {})", "BOOL"),
        ("({} < {})", "INT64", "INT64"),
        ("({} = {})", "STRING", "STRING"),
        ("({} >= {})", "DATE", "DATE"),
        ("({} IS NULL)", "FLOAT64"),
        ("STARTS_WITH({}, {})", "STRING", "STRING"),
        ("({} LIKE '%b%')", "STRING"),
        ("REGEXP_CONTAINS({}, r'^[A-Z]')", "STRING"),
        ("({} IN UNNEST({}))", "INT64", "ARRAY"),
        ("({} BETWEEN {} AND {})", "INT64", "INT64", "INT64"),
    ),
    "DATE": (
        ("DATE_ADD({}, INTERVAL 1 MONTH)", "DATE"),
        ("DATE_SUB({}, INTERVAL 400 DAY)", "DATE"),
        ("DATE_TRUNC({}, WEEK)", "DATE"),
        ("DATE_TRUNC({}, QUARTER)", "DATE"),
        ("LAST_DAY({})", "DATE"),
        ("DATE({})", "TIMESTAMP"),
        ("COALESCE({}, {})", "DATE", "DATE"),
    ),
    "TIMESTAMP": (
        ("TIMESTAMP_ADD({}, INTERVAL 90 MINUTE)", "TIMESTAMP"),
        ("TIMESTAMP_TRUNC({}, HOUR)", "TIMESTAMP"),
        ("TIMESTAMP_TRUNC({}, WEEK)", "TIMESTAMP"),
        ("TIMESTAMP({})", "DATE"),
    ),
    "ARRAY": (
        ("ARRAY_CONCAT({}, {})", "ARRAY", "ARRAY"),
        ("ARRAY_REVERSE({})", "ARRAY"),
        ("ARRAY(SELECT x + 1 FROM UNNEST({}) AS x ORDER BY x)", "ARRAY"),
        ("GENERATE_ARRAY(1, LEAST({}, 5))", "INT64"),
    ),
}
DEPTH: Final = 4


def expressions(number: int, seed: int) -> list[str]:
    """So many different expressions. The same seed gives the same ones."""
    chance = random.Random(seed)  # noqa: S311 - a choice of a test
    found: dict[str, None] = {}
    while len(found) < number:
        found[_expression(chance, chance.choice(list(CALLS)), DEPTH)] = None
    return list(found)


def _expression(chance: random.Random, kind: str, depth: int) -> str:
    if depth == 0 or chance.random() < 0.1:
        return chance.choice(LEAVES[kind])
    template, *kinds = chance.choice(CALLS[kind])
    return template.format(*(_expression(chance, each, depth - 1) for each in kinds))
