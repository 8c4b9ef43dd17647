"""`etlkit serve TARGET`: a transform as a BigQuery remote function."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etlkit.cli.invocation import invoke
from etlkit.cli.logs import configure_logging
from etlkit.cli.options import (
    CONTEXT,
    Command,
    chosen_settings,
    debug_option,
    local_dir_option,
    local_location_option,
    local_option,
    location_option,
    option,
    project_option,
)
from etlkit.errors import ConfigError

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.rows.columns import Column
    from etlkit.serving.function_sql import FunctionSql
    from etlkit.serving.remote_function import RemoteFunction

log: logging.Logger = logging.getLogger("etlkit")

_ARGUMENTS = "Arguments of the function"
_SERVICE = "The service"
_MEMORY = "What it remembers"
_PRINT = "Print instead of serving"

_PRINTS = ("sql", "sql_python", "dockerfile")
_PORT = 8080
_GRACE_S = 8.0
"""Cloud Run kills an instance 10 s after SIGTERM:
https://cloud.google.com/run/docs/container-contract#instance-shutdown"""

_NAME = re.compile(r"[\w-]+(\.[\w-]+){1,2}", re.ASCII)
_MARGIN_S = 30
_ROWS = 100
_CONCURRENCY = 8
_INSTANCES = 10


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("target")
@local_option
@local_dir_option
@local_location_option
@project_option
@location_option
@option(
    "--columns",
    metavar="TEXT",
    section=_ARGUMENTS,
    help="Names and types, e.g. 'uri STRING, size INT64' (default: the columns of the job's source, "
    "found by a dry run).",
)
@option(
    "--var",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    section=_ARGUMENTS,
    help="Value of the variable $NAME$ of the source's query; may be repeated.",
)
@option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    section=_SERVICE,
    help="Address to listen on. 0.0.0.0 = all, in a container: only behind something that checks who "
    "calls, as Cloud Run does.",
)
@option(
    "--port",
    type=click.IntRange(min=0, max=65535),
    metavar="N",
    section=_SERVICE,
    help=f"Port to listen on; 0 = any that is free (default: $PORT, else {_PORT}).",
)
@option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=270.0,
    show_default=True,
    metavar="SECONDS",
    section=_SERVICE,
    help="A response is sent after so long, with an error for each row without a result. Below the "
    "request timeout of the platform.",
)
@option(
    "--grace",
    "grace_s",
    type=click.FloatRange(min=1),
    default=_GRACE_S,
    show_default=True,
    metavar="SECONDS",
    section=_SERVICE,
    help="After SIGTERM or Ctrl-C, rows at work have so long to finish.",
)
@option(
    "--max-waiting-rows",
    type=click.IntRange(min=1),
    metavar="N",
    section=_SERVICE,
    help="Answer 429 rather than let more rows wait (default: what the job's rate_limit allows within "
    "the timeout, else 10000).",
)
@option(
    "--remember",
    type=click.Choice(["query", "all"]),
    default="query",
    show_default=True,
    section=_MEMORY,
    help="A row that comes again is answered from memory: in the same query, or in all.",
)
@option(
    "--remembered-rows",
    type=click.IntRange(min=1),
    default=100_000,
    show_default=True,
    metavar="N",
    section=_MEMORY,
    help="Replies to keep, at most.",
)
@option(
    "--remembered-mb",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    metavar="MB",
    section=_MEMORY,
    help="Their size, at most.",
)
@option(
    "--sql",
    is_flag=True,
    section=_PRINT,
    help="CREATE FUNCTION, an example query, and the commands for Cloud Run.",
)
@option(
    "--sql-python",
    is_flag=True,
    section=_PRINT,
    help="CREATE FUNCTION of a Python UDF that BigQuery runs by itself; only of an Etl in one file.",
)
@option("--dockerfile", is_flag=True, section=_PRINT, help="The Dockerfile of the service.")
@option(
    "--function",
    metavar="DATASET.NAME",
    section=_PRINT,
    help="Name of the function (default: the sink's dataset and the job's name).",
)
@option(
    "--endpoint",
    metavar="URL",
    section=_PRINT,
    help="Address of the service (default: with --local this machine's, else a placeholder).",
)
@option(
    "--connection",
    default="us.etlkit",
    show_default=True,
    metavar="LOCATION.NAME",
    section=_PRINT,
    help="The connection through which BigQuery calls.",
)
@option(
    "--region",
    default="us-central1",
    show_default=True,
    metavar="NAME",
    section=_PRINT,
    help="Of the Cloud Run service: that of the dataset, or one inside of its multi-region.",
)
@option(
    "--max-batching-rows",
    type=click.IntRange(min=1),
    default=_ROWS,
    show_default=True,
    metavar="N",
    section=_PRINT,
    help="Rows that BigQuery sends in a request, at most.",
)
@debug_option
def command(target: str, **options: Any) -> int:
    """Serve the transform of TARGET as a BigQuery remote function, or print what it needs.

    TARGET is a transfer job (package.module, package.module:name, a path to a .py file), or the class
    of an Etl (package.module:Etl).

    BigQuery gets one JSON value for each row: {"ok": …, "value": …, "error": …}. A row that fails does
    not end the query.

    \b
    Exit status:
      0    stopped by SIGTERM or Ctrl-C, or printed
      1    failed
      2    wrong usage or configuration
    """  # noqa: D301 - \b keeps click from wrapping these lines
    if sum(options[name] for name in _PRINTS) > 1:
        raise click.UsageError("--sql, --sql-python and --dockerfile do not go together")
    configure_logging(logging.DEBUG if options["debug"] else logging.INFO)
    from etlkit.cli.job_loader import load_served

    name, job = load_served(target)
    if options["sql"] or options["sql_python"]:
        _check_names(options)
    with chosen_settings(options) as settings:
        from etlkit.serving.remote_function import RemoteFunction, ServiceOptions

        job, columns = _columns(name, job, settings, options)
        service = ServiceOptions(
            timeout_s=options["timeout_s"],
            max_waiting_rows=options["max_waiting_rows"],
            remembered_rows=options["remembered_rows"],
            remembered_bytes=options["remembered_mb"] * 2**20,
            remember=options["remember"],
        )
        function = RemoteFunction(job, columns, service)
        if options["sql"]:
            click.echo(_sql(target, name, job, function, options), nl=False)
        elif options["sql_python"]:
            click.echo(_python_sql(name, job, function, columns, options), nl=False)
        elif options["dockerfile"]:
            click.echo(_dockerfile(target, function, options), nl=False)
        else:
            _serve(target, function, options)
    return 0


def _columns(
    name: str, job: TransferJob, settings: Any, options: dict[str, Any]
) -> tuple[TransferJob, Sequence[Column]]:
    """The job, expanded where its source is asked, and the columns of the arguments."""
    from etlkit.serving.signature import parse_columns
    from etlkit.variables.values import parse_assignments

    if options["columns"] is not None:
        if options["variables"]:
            raise click.UsageError("--var is for the source's query, which --columns stands for")
        return job, parse_columns(options["columns"])
    from etlkit.runner import find_source_columns

    given = parse_assignments(options["variables"])
    return find_source_columns(job, name=name, settings=settings, variables=given)


def _check_names(options: dict[str, Any]) -> None:
    for name in ("function", "connection"):
        if options[name] is not None and not _NAME.fullmatch(options[name]):
            raise ConfigError(f"--{name} {options[name]!r}: write two or three names with dots")
    if options["endpoint"] is not None and not re.match(r"https?://[^\s]+$", options["endpoint"]):
        raise ConfigError(f"--endpoint {options['endpoint']!r}: write an address, https://…")


def _function_name(name: str, job: TransferJob, options: dict[str, Any]) -> str:
    if options["function"] is not None:
        return str(options["function"])
    table = str(getattr(job.sink, "table", ""))
    dataset = table.rpartition(".")[0] or "your_dataset"
    short = re.sub(r"\W", "_", name.rpartition(".")[2].replace(":", "."))
    return f"{dataset}.{short}"


def _serve(target: str, function: RemoteFunction, options: dict[str, Any]) -> None:
    from etlkit.serving.web import HEALTH, is_loopback, listening, serve

    port = options["port"]
    if port is None:
        given = os.environ.get("PORT", str(_PORT))
        if not given.isdecimal():
            raise ConfigError(f"PORT={given!r} is no port")
        port = int(given)
    host = options["host"]
    if not is_loopback(host) and "K_SERVICE" not in os.environ:  # Cloud Run sets it
        log.warning(
            "whoever reaches %s:%s may call %s, at your cost: let something check who calls", host,
            port, target,
        )  # fmt: skip
    listener = listening(host, port)
    address = listener.getsockname()
    shown = f"[{address[0]}]" if ":" in address[0] else address[0]
    click.echo(f"http://{shown}:{address[1]}")
    sys.stdout.flush()
    log.info(
        "serving %s(%s); %s says what it does; Ctrl-C ends it",
        function.spec.kind.__name__, function.signature.text, HEALTH,
    )  # fmt: skip
    serve(function, listener, options["grace_s"])


def _function_sql(
    name: str, job: TransferJob, function: RemoteFunction, options: dict[str, Any]
) -> FunctionSql:
    from etlkit.serving.function_sql import PLACEHOLDER, FunctionSql

    local = f"http://127.0.0.1:{options['port'] or os.environ.get('PORT', _PORT)}"
    query: Any = getattr(job.source, "query", None)
    is_plain = (
        isinstance(query, str) and "$" not in query and not getattr(job.source, "parameters", None)
    )
    return FunctionSql(
        name=_function_name(name, job, options),
        signature=function.signature,
        endpoint=options["endpoint"] or (local if options["local"] else PLACEHOLDER),
        connection=options["connection"],
        max_batching_rows=options["max_batching_rows"],
        output_schema=function.output_schema,
        source=function.source,
        query=query if is_plain else None,
    )


def _sql(
    target: str,
    name: str,
    job: TransferJob,
    function: RemoteFunction,
    options: dict[str, Any],
) -> str:
    from etlkit.serving.function_sql import CloudSteps, comment

    made = _function_sql(name, job, function, options)
    service = re.sub(r"[^a-z0-9-]", "-", made.name.rpartition(".")[2].lower()).strip("-")
    has_limits = job.rate_limit is not None or job.max_calls is not None or job.max_cost is not None
    steps = CloudSteps(
        project=options["project"],
        region=options["region"],
        service=service or "etlkit",
        connection=options["connection"],
        timeout_s=round(options["timeout_s"]) + _MARGIN_S,
        concurrency=_CONCURRENCY,
        max_instances=1 if has_limits else _INSTANCES,
        dockerfile=shlex.join(
            ["etlkit", "serve", target, *_service_options(function, options), "--dockerfile"]
        ),
    )
    text = "" if options["local"] else comment(steps.commands())
    number = "" if options["local"] else "6. "
    text += comment([f"{number}The function"]) + made.create()
    number = "" if options["local"] else "7. "
    text += comment([f"{number}An example: one row for each row, whatever became of it"])
    return text + made.example()


def _python_sql(
    name: str,
    job: TransferJob,
    function: RemoteFunction,
    columns: Sequence[Column],
    options: dict[str, Any],
) -> str:
    from etlkit.serving.function_sql import comment
    from etlkit.serving.python_udf import LIMITS, PythonUdf

    made = PythonUdf(
        function.spec, columns, _function_name(name, job, options), options["connection"]
    )
    example = [f"Call it: SELECT PARSE_JSON({made.call()}) AS answer FROM …"]
    return comment(LIMITS) + made.create() + comment(example)


def _service_options(function: RemoteFunction, options: dict[str, Any]) -> list[str]:
    """The options of the service in a container: it needs no dry run, as the columns are given."""
    words = ["--columns", function.signature.text]
    given = {
        "--timeout": f"{options['timeout_s']:g}",
        "--grace": f"{options['grace_s']:g}",
        "--max-waiting-rows": str(options["max_waiting_rows"] or ""),
        "--remember": options["remember"],
        "--remembered-rows": str(options["remembered_rows"]),
        "--remembered-mb": str(options["remembered_mb"]),
    }
    defaults = {option.opts[0]: str(option.default) for option in command.params}
    for name, value in given.items():
        if value and value not in {defaults[name], f"{defaults[name]}".removesuffix(".0")}:
            words += [name, value]
    return words


def _dockerfile(target: str, function: RemoteFunction, options: dict[str, Any]) -> str:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    has_requirements = Path("requirements.txt").is_file()
    if not has_requirements and not Path("pyproject.toml").is_file():
        raise ConfigError(
            "there is no requirements.txt and no pyproject.toml here: write a requirements.txt with "
            "etlkit, its extra `serve` and what your transform imports, and run this in that folder"
        )
    install = (
        "COPY requirements.txt ./\nRUN pip install --no-cache-dir -r requirements.txt\nCOPY . ."
        if has_requirements
        else "COPY . .\nRUN pip install --no-cache-dir ."
    )
    words = ["etlkit", "serve", target, "--host", "0.0.0.0"]  # noqa: S104  # nosec B104
    words += _service_options(function, options)
    return f"""\
# The packages have to bring etlkit with its extra `serve`.
FROM python:{python}-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
{install}
RUN useradd --create-home --uid 10001 etlkit
USER etlkit
# Cloud Run sets PORT, and checks who calls.
CMD {json.dumps(words, ensure_ascii=False)}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `etlkit serve` and give its exit status; never raises."""
    return invoke(command, argv, "etlkit serve")
