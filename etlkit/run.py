"""`python -m etlkit.run TARGET`: run a job. The only place that parses argv, reads env and prints."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etlkit.errors import EtlkitError, RetryableError, RowError

if TYPE_CHECKING:
    from etlkit.context import Settings
    from etlkit.job import TransferJob
    from etlkit.report import Progress, RunReport

_PREVIEW_ROWS = 10
_INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""


def run_job(
    job: TransferJob,
    *,
    name: str | None = None,
    settings: Settings | None = None,
    limit: int | None = None,
    on_progress: Progress | None = None,
) -> RunReport:
    """Run a job from a script or a notebook.

    Args:
        job: What to run.
        name: The job's name where it has none of its own; None = `job`.
        settings: Project, location and environment; None = what `environment()` gives.
        limit: Source rows to read at most; None = all.
        on_progress: Called often with stage and counts; None = nobody watches.

    Returns:
        The report of a published run.

    Raises:
        EtlkitError: The run failed; its attribute `report` is a `RunReport`.
    """
    from etlkit.context import Run
    from etlkit.engine import run_transfer

    labels = job.labels
    with Run(
        job.name or name or "job", settings or environment(), limit=limit, labels=labels
    ) as run:
        return run_transfer(job, run, on_progress)


def environment(*, project: str | None = None, location: str | None = None) -> Settings:
    """Settings from this process's environment variables."""
    from etlkit.context import Settings

    return Settings(project=project, location=location, environ=dict(os.environ))


@contextmanager
def local_world(local_dir: Path) -> Iterator[None]:
    """Point this process at the embedded BigQuery and Vision of `local_dir` while inside.

    Raises:
        ConfigError: The `local` extra is not installed.
        JobError: The server does not start.
    """
    from etlkit.local import join_or_start

    with join_or_start(local_dir) as server:
        before = dict(os.environ)
        mine = server.endpoints.environ()
        if os.environ.get("ETLKIT_VISION_ENDPOINT"):
            mine.pop("ETLKIT_VISION_ENDPOINT")  # somebody chose another one on purpose
        os.environ.update(mine)
        try:
            yield
        finally:
            for variable in mine:
                if variable in before:
                    os.environ[variable] = before[variable]
                else:
                    os.environ.pop(variable, None)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("target")
@click.option("--local", is_flag=True, help="Run on this machine alone, against .etlkit/.")
@click.option(
    "--local-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".etlkit"),
    show_default=True,
    help="Where --local keeps its tables and buckets.",
)
@click.option("--project", help="Google Cloud project that is billed.")
@click.option("--location", help="BigQuery location, e.g. US or asia-northeast1.")
@click.option("--limit", type=click.IntRange(min=1), help="Read at most this many source rows.")
@click.option(
    "--preview",
    type=click.IntRange(min=1),
    is_flag=False,
    flag_value=_PREVIEW_ROWS,
    metavar="[N]",
    help=f"Show N rows before and after (default {_PREVIEW_ROWS}); nothing is written.",
)
@click.option(
    "--report",
    "report_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the run report to this file.",
)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option(
    "--quiet", is_flag=True, help="No progress, no summary; errors and the report remain."
)
@click.option("--debug", is_flag=True, help="Show SQL, stages and tracebacks.")
def cli(target: str, **options: Any) -> int:
    """Run the job TARGET: package.module, package.module:name or a path to a file.

    The last line on stdout is the run report as one JSON object. Exit status: 0 published, 1 the run
    failed, 2 usage or configuration, 130 interrupted.
    """
    _configure_logging(options["log_format"], debug=options["debug"], quiet=options["quiet"])
    from etlkit.loading import load_job

    name, job = load_job(target)
    with ExitStack() as stack:
        if options["local"]:
            stack.enter_context(local_world(options["local_dir"]))
        settings = environment(project=options["project"], location=options["location"])
        if options["preview"]:
            return _preview(job, name, settings, options["preview"])
        return _run(job, name, settings, options)


def _run(job: TransferJob, name: str, settings: Settings, options: dict[str, Any]) -> int:
    from etlkit.console import progress_view

    plain = options["log_format"] == "json"
    try:
        with progress_view(quiet=options["quiet"], plain=plain) as view:
            report = run_job(
                job, name=name, settings=settings, limit=options["limit"], on_progress=view
            )
    except BaseException as error:
        failed = getattr(error, "report", None)
        if failed is not None:
            _finish(failed, options)
        raise
    _finish(report, options)
    return 0


def _finish(report: RunReport, options: dict[str, Any]) -> None:
    from etlkit.console import show_report

    if not options["quiet"]:
        show_report(report)
    if options["report_file"] is not None:
        options["report_file"].write_text(report.to_json() + "\n", encoding="utf-8")
    click.echo(report.to_json())


def _preview(job: TransferJob, name: str, settings: Settings, num_rows: int) -> int:
    from etlkit.console import show_preview
    from etlkit.context import Run
    from etlkit.preview import preview_transfer

    with Run(job.name or name, settings, limit=num_rows, labels=job.labels) as run:
        preview = preview_transfer(job, run)
    show_preview(preview)
    return 1 if preview.num_errors else 0


def _configure_logging(log_format: str, *, debug: bool, quiet: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        from etlkit.console import JsonFormatter

        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("etlkit")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if debug else logging.ERROR if quiet else logging.INFO)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and give the exit status; never raises."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    try:
        return int(
            cli.main(arguments, prog_name="python -m etlkit.run", standalone_mode=False) or 0
        )
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        _fail(error, "interrupted; nothing was published", debug=debug)
        return _INTERRUPTED
    except EtlkitError as error:
        _fail(error, f"{error}{_next_step(error)}", debug=debug)
        return error.exit_code
    except Exception as error:
        _fail(error, f"unexpected {type(error).__name__}: {error}\nmore with --debug", debug=debug)
        return 1


def _fail(error: BaseException, message: str, *, debug: bool) -> None:
    from etlkit.console import show_error

    if debug:
        logging.getLogger("etlkit").error("traceback:", exc_info=error)
    show_error(message)


def _next_step(error: EtlkitError) -> str:
    if isinstance(error, RowError):
        return (
            "\nnothing was published. Look at rows with --preview; on_row_error='skip' in the job "
            "leaves such rows out"
        )
    if isinstance(error, RetryableError):
        return "\nnothing was published. The service may be back in a while: run the job again"
    return ""


if __name__ == "__main__":
    sys.exit(main())
