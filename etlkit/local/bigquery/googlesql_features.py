"""The features of GoogleSQL that BigQuery has, of those that the analyzer knows.

A feature that no page of BigQuery's documentation mentions is off, so that a text that uses it is
refused as BigQuery refuses it. Where the pages are silent about a detail it stays on.

https://cloud.google.com/bigquery/docs/reference/standard-sql/query-syntax
https://cloud.google.com/bigquery/docs/reference/standard-sql/functions-all
https://github.com/google/zetasql/blob/master/zetasql/public/options.proto
"""

from __future__ import annotations

from typing import Final

NOT_IN_BIGQUERY: Final = frozenset(
    (  # noqa: SIM905 - words in groups
        # ARRAY and JSON have no `=` and no order; they can be grouped.
        "ARRAY_EQUALITY ARRAY_ORDERING ARRAY_GREATEST_LEAST JSON_TYPE_COMPARISON "
        # Timestamps have microseconds.
        "TIMESTAMP_NANOS TIMESTAMP_PICOS TIMESTAMP_PRECISION "
        "PARSE_TIMESTAMP_WITH_PRECISION_AND_TIMEZONE TIMESTAMP_FROM_UNIX_FUNCTIONS_WITH_UINT64 "
        # Types of Spanner and of Google's inside.
        "UUID_TYPE EXTENDED_TYPES PROTO_MAPS BETWEEN_UINT64_INT64 ENUM_VALUE_DESCRIPTOR_PROTO "
        # Statements and clauses of Spanner and of Google's inside.
        "DML_RETURNING INSERT_ON_CONFLICT_CLAUSE FOR_UPDATE IDENTITY_COLUMNS GENERATED_BY_DEFAULT "
        "ALTER_COLUMN_SET_GENERATED_AS_IDENTITY ALTER_COLUMN_DROP_GENERATED CHECK_CONSTRAINT "
        "EXPERIMENTAL_MODULES ALLOW_SLASH_PATHS STRATIFIED_RESERVOIR_TABLESAMPLE LATERAL_JOIN "
        "AGGREGATE_FILTERING MULTILEVEL_AGGREGATION MULTILEVEL_AGGREGATION_ON_UDAS "
        "ANONYMIZATION_CASE_INSENSITIVE_OPTIONS "
        # Pipe operators that BigQuery's page does not list.
        "PIPE_ASSERT PIPE_CREATE_TABLE PIPE_DESCRIBE PIPE_STATIC_DESCRIBE PIPE_EXPORT_DATA PIPE_FORK "
        "PIPE_IF PIPE_INSERT PIPE_TEE PIPE_LOG PIPE_RECURSIVE_UNION "
        # Functions that BigQuery's list does not have.
        "ARRAY_AGGREGATION_FUNCTIONS ARRAY_FIND_FUNCTIONS DOT_PRODUCT MANHATTAN_DISTANCE L1_NORM "
        "L2_NORM PI_FUNCTIONS BITWISE_AGGREGATE_BYTES_SIGNATURES "
        "KLL_QUANTILES_EXTRACT_RELATIVE_RANK "
    ).split()
)

ONLY_IN_BIGQUERY: Final = frozenset(
    (  # noqa: SIM905 - as above
        "ALTER_COLUMN_SET_DATA_TYPE ALTER_MATERIALIZED_VIEW_ALTER_COLUMN_SET_OPTIONS "
        "COLLATION_SUPPORT COLLATION_IN_EXPLICIT_CAST CREATE_TABLE_CLONE CLONE_DATA "
        "CREATE_EXTERNAL_TABLE_WITH_PARTITION_COLUMNS CREATE_INDEX_PARTITION_BY "
        "CREATE_VIEWS_WITH_COLUMN_OPTIONS DIFFERENTIAL_PRIVACY DISABLE_FLOAT32 "
        "NON_SQL_PROCEDURE EXTERNAL_SECURITY_PROCEDURE INVERSE_TRIG_FUNCTIONS "
        "LIKE_ANY_SOME_ALL_ARRAY LIKE_ANY_SOME_ALL_SUBQUERY ENABLE_EDIT_DISTANCE_BYTES "
    ).split()
)
"""On in BigQuery, and off in what the analyzer calls all features."""

REWRITES: Final = (
    "REWRITE_FLATTEN",
    "REWRITE_UNPIVOT",
    "REWRITE_PIVOT",
    "REWRITE_TYPEOF_FUNCTION",
    "REWRITE_WITH_EXPR",
    "REWRITE_NULLIFERROR_FUNCTION",
    "REWRITE_LIKE_ANY_ALL",
    "REWRITE_BUILTIN_FUNCTION_INLINER",
    "REWRITE_INLINE_SQL_VIEWS",
    "REWRITE_GROUPING_SET",
    "REWRITE_GENERALIZED_QUERY_STMT",
    "REWRITE_VARIADIC_FUNCTION_SIGNATURE_EXPANDER",
    "REWRITE_MULTIWAY_UNNEST",
    "REWRITE_INSERT_DML_VALUES",
    "REWRITE_ORDER_BY_AND_LIMIT_IN_AGGREGATE",
)
"""What the evaluator needs in place of constructs that it does not evaluate itself."""

LACKING: Final = frozenset(
    {
        *("APPENDS", "BAG_OF_WORDS", "CHANGES", "CONTAINS_SUBSTR", "DLP_DETERMINISTIC_DECRYPT"),
        *("DLP_DETERMINISTIC_ENCRYPT", "DLP_KEY_CHAIN", "EXTERNAL_QUERY", "GAP_FILL", "MAX_BY"),
        *("MIN_BY", "RANGE_SESSIONIZE", "SEARCH", "ST_REGIONSTATS", "TEXT_ANALYZE", "TF_IDF"),
        *("VECTOR_SEARCH",),
    }
)
"""Functions that BigQuery has and the analyzer does not: it says nothing about their statements."""

LACKING_NAMESPACES: Final = frozenset({"AI", "BQML", "ML", "OBJ"})
"""Namespaces of such functions, unless the catalog has them."""
