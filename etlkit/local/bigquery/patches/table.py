"""The table of everything that patches and extensions replace in the emulator and in sqlglot.

A row holds for the version of the emulator below. To move to another version, change the pin in
`pyproject.toml`, start the server, look at each patch that the error names, and then write the new
fingerprint (`replacement.current_fingerprint`) into its row.
"""

from __future__ import annotations

from typing import Final

from etlkit.local.bigquery.patches.replacement import ABSENT, Original, PatchTable

EMULATOR_VERSION: Final = "1.4.0"

ORIGINALS: Final = (
    Original(
        "bqemulator.server:DuckDBEngine",
        "a18b83bbd1e1",
        ("bigquery/patches/single_connection",),
        "Users of the one DuckDB connection must wait for each other, and a dry run must not run.",
    ),
    Original(
        "bqemulator.server:uvicorn",
        "bab9d6737501",
        ("bigquery/patches/keep_alive",),
        "An idle connection must stay open for minutes, not for 5 s.",
    ),
    Original(
        "bqemulator.server:SnapshotManager",
        "7010eb54d88a",
        ("bigquery/patches/snapshots",),
        "Copying a table at each append takes too long, and changes of rows must show in the etag.",
    ),
    Original(
        "bqemulator.catalog.ddl_sync:_introspect_schema",
        "989c1742ed46",
        ("bigquery/patches/types",),
        "Arrow, from which the emulator takes column types, has neither JSON nor GEOGRAPHY.",
    ),
    Original(
        "bqemulator.jobs.executor:build_response_schema",
        "2bf0f4dd0aad",
        ("bigquery/patches/types",),
        "Arrow, from which the emulator takes result types, has neither JSON nor GEOGRAPHY.",
    ),
    Original(
        "bqemulator.api.routes.jobs:build_response_schema",
        "2bf0f4dd0aad",
        ("bigquery/patches/types",),
        "Arrow, from which the emulator takes result types, has neither JSON nor GEOGRAPHY.",
    ),
    Original(
        "sqlglot.dialects.duckdb:DuckDB.Generator.TYPE_PARAM_SETTINGS",
        "fa9466b9ad42",
        ("bigquery/patches/types",),
        "NUMERIC needs 9 digits after the point, and BIGNUMERIC the 18 that DuckDB has room for.",
    ),
    Original(
        "bqemulator.storage.type_map:_BQ_TO_DUCKDB[BIGNUMERIC]",
        "07cf8b045ec2",
        ("bigquery/patches/types",),
        "DuckDB does not have the emulator's DECIMAL(76, 38).",
    ),
    Original(
        "bqemulator.sql.rewriter.aggregate_variants:_rewrite_ignore_nulls",
        "322ba11a59d8",
        ("bigquery/patches/aggregates",),
        "IGNORE NULLS must go with DISTINCT and LIMIT.",
    ),
    Original(
        "bqemulator.storage.type_map:bq_schema_to_duckdb_columns",
        "36a6d9ffada2",
        ("bigquery/patches/types",),
        "REQUIRED columns must be NOT NULL, and names of nested fields must be quoted.",
    ),
    Original(
        "bqemulator.api.routes.tables:bq_schema_to_duckdb_columns",
        "36a6d9ffada2",
        ("bigquery/patches/types",),
        "REQUIRED columns must be NOT NULL, and names of nested fields must be quoted.",
    ),
    Original(
        "bqemulator.storage.arrow_bridge:wkb_to_wkt",
        "d4e9afd7e04e",
        ("bigquery/patches/types",),
        "BigQuery writes POINT(1 2), DuckDB POINT (1 2).",
    ),
    Original(
        "bqemulator.catalog.ddl_sync:sync_created_table",
        "444e463095f1",
        ("bigquery/patches/table_options",),
        "The catalog must know what CREATE TABLE and ALTER TABLE say beyond column types.",
    ),
    Original(
        "bqemulator.jobs.executor:sync_created_table",
        "444e463095f1",
        ("bigquery/patches/table_options",),
        "The catalog must know what CREATE TABLE and ALTER TABLE say beyond column types.",
    ),
    Original(
        "bqemulator.scripting.interpreter:sync_created_table",
        "444e463095f1",
        ("bigquery/patches/table_options",),
        "The catalog must know what CREATE TABLE and ALTER TABLE say beyond column types.",
    ),
    Original(
        "bqemulator.sql.translator:rewrite_alter_table_set_options",
        "7e0aa7eb44f3",
        ("bigquery/patches/table_options",),
        "DuckDB must not see ALTER TABLE SET OPTIONS, however it is written.",
    ),
    Original(
        "bqemulator.sql.translator:SQLTranslator.translate",
        "391007c542d5",
        ("bigquery/patches/byte_literals", "bigquery/patches/alter_actions"),
        "DuckDB must get BYTES literals with escapes in hexadecimal digits, and one statement for "
        "each action of an ALTER.",
    ),
    Original(
        "bqemulator.sql.parameters:_SCALAR_CONVERTERS[BYTES]",
        ABSENT,
        ("bigquery/patches/byte_literals",),
        "BYTES parameters arrive in base64 and must be decoded.",
    ),
    Original(
        "bqemulator.jobs.error_mapper:translate_runtime_error",
        "3b509d8b6240",
        ("bigquery/patches/messages",),
        "Error messages must have the names that the user wrote, and no SQL of DuckDB.",
    ),
    Original(
        "bqemulator.jobs.executor:translate_runtime_error",
        "3b509d8b6240",
        ("bigquery/patches/messages",),
        "Error messages must have the names that the user wrote, and no SQL of DuckDB.",
    ),
    Original(
        "bqemulator.jobs.executor:_run_single_sql",
        "89c51d18b068",
        ("bigquery/extensions/query_jobs",),
        "Errors must say where in the user's SQL they are, and hooks must rewrite queries first.",
    ),
    Original(
        "bqemulator.scripting.interpreter:_rewrite_vars_to_params",
        "e80a9349f229",
        ("bigquery/patches/scripts",),
        "Query parameters and @@error.message must work in scripts.",
    ),
    Original(
        "bqemulator.scripting.interpreter:ScriptInterpreter",
        "67e039dfb704",
        ("bigquery/patches/scripts", "bigquery/extensions/interpreter"),
        "Scripts need real transactions and ASSERT, and hooks must see their statements.",
    ),
    Original(
        "bqemulator.jobs.executor:ScriptInterpreter",
        "67e039dfb704",
        ("bigquery/patches/scripts", "bigquery/extensions/interpreter"),
        "Scripts need real transactions and ASSERT, and hooks must see their statements.",
    ),
    Original(
        "bqemulator.jobs.executor:_run_query_body",
        "2d326356ecd6",
        ("bigquery/patches/scripts",),
        "A script must get the parameters of its job.",
    ),
    Original(
        "bqemulator.jobs.executor:parse_script",
        "f6d8327a8d80",
        ("bigquery/patches/scripts",),
        "A single ASSERT or transaction statement must run as a script.",
    ),
    Original(
        "bqemulator.api.routes.jobs:insert_job",
        "387931a870c5",
        ("bigquery/patches/jobs",),
        "A job id must not run twice, a dry run must leave no job, and labels must be kept.",
    ),
    Original(
        "bqemulator.api.routes.jobs:query",
        "3854653c7a57",
        ("bigquery/patches/jobs",),
        "A failed query must be answered with its error, and a request must not run twice.",
    ),
    Original(
        "bqemulator.api.routes.jobs:get_query_results",
        "0c2f4cbf6de7",
        ("bigquery/patches/jobs",),
        "The results of a failed query are its error.",
    ),
    Original(
        "bqemulator.api.routes.jobs:list_jobs",
        "fe90625ddc84",
        ("bigquery/patches/jobs",),
        "The list of jobs must show the errors of failed jobs.",
    ),
    Original(
        "bqemulator.api.routes.jobs:_dry_run_response",
        "84d7e422164d",
        ("bigquery/patches/jobs", "bigquery/extensions/query_jobs"),
        "A dry run must not run its query or script, and hooks must check their statements.",
    ),
    Original(
        "bqemulator.api.routes.jobs:_execute_query_or_failed_meta",
        "0e598a4c538e",
        ("bigquery/patches/destinations",),
        "The rows of a query must be written to its destination table.",
    ),
    Original(
        "bqemulator.api.routes.tables:_table_to_rest",
        "0162ebbe1602",
        ("bigquery/patches/table_resource",),
        "The resource of a table must show its location, expiration, view and current row count.",
    ),
    Original(
        "bqemulator.api.routes.tables:_rest_to_table_meta",
        "facca44b44f1",
        ("bigquery/patches/table_resource",),
        "Updates must add columns to the stored table, merge labels and keep the expiration.",
    ),
    Original(
        "bqemulator.api.routes.tables:patch_table",
        "537ea8947147",
        ("bigquery/patches/etags",),
        "An update with a stale etag must be refused.",
    ),
    Original(
        "bqemulator.api.routes.tables:update_table",
        "bd52d45f4110",
        ("bigquery/patches/etags",),
        "An update with a stale etag must be refused.",
    ),
    Original(
        "bqemulator.api.routes.datasets:patch_dataset",
        "ab1e3605d2b9",
        ("bigquery/patches/etags",),
        "An update with a stale etag must be refused.",
    ),
    Original(
        "bqemulator.api.routes.datasets:update_dataset",
        "7ab79cfc007e",
        ("bigquery/patches/etags",),
        "An update with a stale etag must be refused.",
    ),
    Original(
        "bqemulator.server:create_app",
        "6a104cb35d8e",
        ("bigquery/patches/table_resource",),
        "The REST app must handle one request at a time and update the catalog before each.",
    ),
    Original(
        "bqemulator.grpc_api.write_servicer:BigQueryWriteHandler",
        "23bb6f798f88",
        ("bigquery/patches/appends",),
        "Appends must match columns by name, and a wrong one must be refused as a whole.",
    ),
    Original(
        "bqemulator.api.routes.tabledata:insert_all",
        "af30c88f34cb",
        ("bigquery/patches/row_inserts",),
        "insertAll must match columns by name and report errors per row.",
    ),
    Original(
        "bqemulator.api.routes.upload:_PERMITTED_MEDIA_CONTENT_TYPES",
        "44dcf55ab759",
        ("bigquery/patches/row_inserts",),
        "The client uploads files with the content type */*.",
    ),
    Original(
        "bqemulator.grpc_api.read_servicer:BigQueryReadHandler",
        "1c606f3417af",
        ("bigquery/patches/reads",),
        "The Read API must send BigQuery's Arrow types in small messages and resume at offsets.",
    ),
    Original(
        "bqemulator.jobs.executor:execute_load_job",
        "a63ce9fd5550",
        ("bigquery/patches/loads",),
        "A load job must add all of its rows or none, accept wildcards and count its own rows.",
    ),
    Original(
        "bqemulator.api.routes.jobs:execute_load_job",
        "a63ce9fd5550",
        ("bigquery/patches/loads",),
        "A load job must add all of its rows or none, accept wildcards and count its own rows.",
    ),
    Original(
        "bqemulator.api.routes.upload:execute_load_job",
        "a63ce9fd5550",
        ("bigquery/patches/loads",),
        "A load job must add all of its rows or none, accept wildcards and count its own rows.",
    ),
    Original(
        "bqemulator.jobs.executor:_load_path_into_target",
        "18f5dba14395",
        ("bigquery/patches/loads",),
        "CSV files must be read with the options of their load job.",
    ),
    Original(
        "bqemulator.jobs.executor:_maybe_create_load_destination",
        "b866eb64d354",
        ("bigquery/patches/loads",),
        "A table that is created from a CSV file must have the columns that autodetect finds.",
    ),
    Original(
        "bqemulator.api.routes.upload:_load_configuration_from_envelope",
        "0e15e86d7862",
        ("bigquery/patches/loads",),
        "The job id that comes with an upload must be kept until its job runs.",
    ),
    Original(
        "bqemulator.api.routes.upload:_run_load",
        "95b8367e65c5",
        ("bigquery/patches/loads",),
        "An upload must run under the job id that the client sent, and only once.",
    ),
    Original(
        "bqemulator.api.routes.upload:_new_job_id",
        "6ec7d4163791",
        ("bigquery/patches/loads",),
        "An upload must run under the job id that the client sent.",
    ),
    Original(
        "sqlglot.dialects.bigquery:BigQuery.Parser.PROPERTY_PARSERS[WITH]",
        "c292d250183e",
        ("bigquery/extensions/grammar",),
        "sqlglot does not parse WITH CONNECTION on tables.",
    ),
    Original(
        "sqlglot.dialects.bigquery:BigQuery.Parser._parse_remote_with_connection",
        "dd327b357225",
        ("bigquery/extensions/grammar",),
        "sqlglot does not parse WITH CONNECTION DEFAULT.",
    ),
    Original(
        "sqlglot.dialects.bigquery:BigQuery.Parser._parse_drop",
        "f1245c97f654",
        ("bigquery/extensions/grammar",),
        "sqlglot does not parse DROP EXTERNAL TABLE.",
    ),
    Original(
        "sqlglot.dialects.bigquery:BigQuery.Parser.FUNCTION_PARSERS[ANNOTATE_IMAGE]",
        ABSENT,
        ("bigquery/extensions/grammar",),
        "sqlglot does not parse ML.ANNOTATE_IMAGE.",
    ),
    Original(
        "sqlglot.dialects.bigquery:BigQuery.Parser.FUNCTIONS[JSON_QUERY]",
        "dc84eb9e8c82",
        ("bigquery/extensions/grammar",),
        "sqlglot fails on JSON_QUERY without a path.",
    ),
    Original(
        "sqlglot.dialects.bigquery:BigQuery.Generator.TRANSFORMS[Connection]",
        ABSENT,
        ("bigquery/extensions/grammar",),
        "The parsed WITH CONNECTION must be written as SQL again.",
    ),
    Original(
        "sqlglot.dialects.bigquery:BigQuery.Generator.TRANSFORMS[AnnotateImage]",
        ABSENT,
        ("bigquery/extensions/grammar",),
        "The parsed ML.ANNOTATE_IMAGE must be written as SQL again.",
    ),
    Original(
        "sqlglot.dialects.bigquery:BigQuery.Generator.PROPERTIES_LOCATION[Connection]",
        ABSENT,
        ("bigquery/extensions/grammar",),
        "WITH CONNECTION is written after the columns.",
    ),
    Original(
        "bqemulator.jobs.executor:execute_query_job",
        "250982384cc4",
        ("bigquery/extensions/query_jobs",),
        "Statement hooks must see every query job first.",
    ),
    Original(
        "bqemulator.api.routes.jobs:execute_query_job",
        "250982384cc4",
        ("bigquery/extensions/query_jobs",),
        "Statement hooks must see every query job first.",
    ),
    Original(
        "bqemulator.scripting.parser:Parser._parse_create_or_sql",
        "ebace113e2ad",
        ("bigquery/extensions/interpreter",),
        "The emulator expects a body of every function; a remote function has none.",
    ),
    Original(
        "bqemulator.udf.runtime:UDFRegistry._dispatch",
        "4c5165990937",
        ("bigquery/extensions/routines",),
        "Remote functions have a runtime of their own.",
    ),
    Original(
        "bqemulator.udf.sql_udf:_translate_body",
        "ed84fdbb847a",
        ("bigquery/extensions/routines",),
        "The body of an SQL function must find other functions by their names in DuckDB.",
    ),
    Original(
        "bqemulator.api.routes.routines:_routine_to_rest",
        "94e930f414b5",
        ("bigquery/extensions/routines",),
        "The resource of a remote function must show its endpoint and connection.",
    ),
    Original(
        "bqemulator.api.routes.routines:insert_routine",
        "9e587e96a39d",
        ("bigquery/extensions/routines",),
        "The API must be able to create remote functions.",
    ),
    Original(
        "bqemulator.api.routes.jobs:execute_copy_job",
        "1f9ec4b5f4cc",
        ("bigquery/extensions/resources",),
        "A copy job must not write over a view or an external table.",
    ),
    Original(
        "bqemulator.api.routes.tables:delete_table",
        "f2f7ecfb45d3",
        ("bigquery/extensions/resources",),
        "tables.delete must delete views and external tables, too.",
    ),
    Original(
        "bqemulator.api.routes.tables:insert_table",
        "c7d96ec58341",
        ("bigquery/extensions/resources",),
        "tables.insert must create views, object tables and external tables, too.",
    ),
    Original(
        "bqemulator.api.routes.models:_model_to_rest",
        "e46f6cf9b0f4",
        ("ml/catalog",),
        "The resource of a remote model must show its connection and service.",
    ),
    Original(
        "bqemulator.sql.translator:_UNSUPPORTED_KEYWORDS",
        "f253b8a314e5",
        ("ml/extension",),
        "The emulator refuses every statement with ML.PREDICT, even in a comment.",
    ),
)

PATCHES: Final = PatchTable(ORIGINALS, EMULATOR_VERSION)
"""The table that the local server applies. It is checked before the first replacement."""
