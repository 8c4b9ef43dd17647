"""`python -m etlkit.run TARGET`: run a job. Here argv is parsed and the report printed."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from etlkit.cli.script_options import check_target, script_job, script_options
from etlkit.errors import EtlkitError, RetryableError, RowError, without_keys
from etlkit.runner import environment, local_world, run_job
from etlkit.variables.values import parse_assignments, parse_time

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.api.report import DatamartReport, RunReport
    from etlkit.api.run import Run, Settings

__all__ = ["cli", "environment", "local_world", "main", "run_job"]

_PREVIEW_ROWS = 10


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("target", required=False)
@script_options
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
    "--resume",
    is_flag=False,
    flag_value="last",
    metavar="[RUN_ID]",
    help="Go on with the job's last unpublished run, or with RUN_ID: only rows not settled yet.",
)
@click.option(
    "--allow-code-change", is_flag=True, help="With --resume: although code or query changed."
)
@click.option(
    "--retry-rejects", metavar="RUN_ID", help="Run only the rows that run RUN_ID rejected."
)
@click.option(
    "--var", "variables", multiple=True, metavar="NAME=VALUE", help="Value of a variable $NAME$."
)
@click.option("--queued-at", metavar="TIME", help="Base of timestamp variables; default now.")
@click.option("--dry-run", is_flag=True, help="Validate a datamart's SQL; nothing is written.")
@click.option(
    "--price-per-tib", type=click.FloatRange(min=0), metavar="USD", help="With --dry-run."
)
@click.option("--only", metavar="CLASS", help="With --retry-rejects: only this class of error.")
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
def cli(target: str | None, **options: Any) -> int:
    """Run the job TARGET: package.module, package.module:name or a path to a .py or .sql file.

    The last line on stdout is the run report as one JSON object. Exit status: 0 published, 1 the run
    failed, 2 usage or configuration, 130 stopped by Ctrl-C, 143 by SIGTERM (then --resume goes on).
    """
    check_target(target, options)
    _refuse_lonely(options)
    _configure_logging(options["log_format"], debug=options["debug"], quiet=options["quiet"])
    from etlkit.api.datamart import Datamart
    from etlkit.cli.datamart_console import check_options, run_from_options
    from etlkit.cli.load_job import load_job

    name, job = script_job(options) if target is None else load_job(target)
    check_options(job, options)
    with ExitStack() as stack:
        if options["local"]:
            stack.enter_context(local_world(options["local_dir"]))
        settings = environment(project=options["project"], location=options["location"])
        if isinstance(job, Datamart):
            return run_from_options(job, name, settings, options, _stop_on_signals, _finish)
        if options["preview"]:
            return _preview(job, name, settings, options)
        return _run(job, name, settings, options)


def _run(job: TransferJob, name: str, settings: Settings, options: dict[str, Any]) -> int:
    from etlkit.cli.console import progress_view

    plain = options["log_format"] == "json"
    try:
        with progress_view(quiet=options["quiet"], plain=plain) as view:
            report = run_job(
                job,
                name=name,
                settings=settings,
                limit=options["limit"],
                resume=options["resume"],
                allow_code_change=options["allow_code_change"],
                retry_rejects=options["retry_rejects"],
                only=options["only"],
                variables=parse_assignments(options["variables"]),
                queued_at=parse_time(options["queued_at"]),
                on_progress=view,
                on_start=_stop_on_signals,
            )
    except BaseException as error:
        failed = getattr(error, "report", None)
        if failed is not None:
            _finish(failed, options)
        raise
    _finish(report, options)
    return 0


def _refuse_lonely(options: dict[str, Any]) -> None:
    pairs = {
        "allow_code_change": "resume",
        "only": "retry_rejects",
        "price_per_tib": "dry_run",
    }
    for option, partner in pairs.items():
        if options[option] and not options[partner]:
            names = [f"--{name.replace('_', '-')}" for name in (option, partner)]
            raise click.UsageError(f"{names[0]} goes with {names[1]}")


def _stop_on_signals(run: Run) -> None:
    """Let Ctrl-C and SIGTERM end the run in good order; a second Ctrl-C ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        return

    def stop(signum: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run.request_stop(signum)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def _finish(report: RunReport | DatamartReport, options: dict[str, Any]) -> None:
    from etlkit.api.report import RunReport
    from etlkit.cli.console import show_report
    from etlkit.cli.datamart_console import show_datamart

    if not options["quiet"]:
        if isinstance(report, RunReport):
            show_report(report)
        else:
            show_datamart(report)
    if options["report_file"] is not None:
        options["report_file"].write_text(report.to_json() + "\n", encoding="utf-8")
    click.echo(report.to_json())


def _preview(job: TransferJob, name: str, settings: Settings, options: dict[str, Any]) -> int:
    from etlkit.api.run import RunRequest
    from etlkit.cli.console import show_preview
    from etlkit.engine.expand_transfer import expand_transfer
    from etlkit.engine.preview import preview_transfer

    request = RunRequest(job.name or name, settings, limit=options["preview"])
    given, now = parse_assignments(options["variables"]), request.started_at
    queued_at = parse_time(options["queued_at"]) or now
    job, _ = expand_transfer(job, given=given, queued_at=queued_at, started_at=now)
    preview = preview_transfer(job, request)
    show_preview(preview)
    return 1 if preview.num_errors else 0


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what stderr is now: a progress bar takes its place, to keep lines above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def _configure_logging(log_format: str, *, debug: bool, quiet: bool) -> None:
    handler = _StderrHandler()
    if log_format == "json":
        from etlkit.cli.console import JsonFormatter

        handler.setFormatter(JsonFormatter())
    else:
        from etlkit.cli.console import RedactingFormatter

        handler.setFormatter(RedactingFormatter("%(message)s"))
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
        # click turns every KeyboardInterrupt into an Abort of its own.
        cause = error.__cause__ or error
        signum = getattr(cause, "signum", signal.SIGINT)
        what = "interrupted; nothing was published. Go on with --resume"
        if hasattr(getattr(cause, "report", None), "statements"):
            what = "interrupted; the statement in progress was cancelled, later ones did not run"
        _fail(error, what, debug=debug)
        return 128 + int(signum)
    except EtlkitError as error:
        _fail(error, f"{error}{_next_step(error)}", debug=debug)
        return error.exit_code
    except Exception as error:
        _fail(
            error,
            f"unexpected {type(error).__name__}: {without_keys(str(error))}\nmore with --debug",
            debug=debug,
        )
        return 1


def _fail(error: BaseException, message: str, *, debug: bool) -> None:
    from etlkit.cli.console import show_error

    if debug:
        logging.getLogger("etlkit").error("traceback:", exc_info=error)
    show_error(message)


def _next_step(error: EtlkitError) -> str:
    if isinstance(error, RowError):
        return (
            "\nnothing was published. Look at rows with --preview; on_row_error='skip' in the job, or "
            "--on-row-error skip of a script, leaves such rows out"
        )
    if isinstance(error, RetryableError):
        return "\nnothing was published. The service may be back in a while: go on with --resume"
    return ""


if __name__ == "__main__":
    sys.exit(main())
