"""Which options of `etlkit run` go together, and which go with which kind of job."""

from __future__ import annotations

from typing import Any

import click

from etlkit.cli.options import spelled

_LOOKS = ("preview", "rehearse", "against")
"""What is done instead of a run."""

_ONLY_TRANSFERS = (
    "limit",
    *_LOOKS,
    "journal",
    "workers",
    "worker",
    "run_key",
    "engine",
    "fresh",
    "reuse_across_code",
    "retry_rejects",
)
_EXCLUSIVE = (
    ("fresh", "resume"),
    ("fresh", "reuse_across_code"),
    ("fresh", "retry_rejects"),
    ("workers", "retry_rejects"),
    ("worker", "retry_rejects"),
    ("run_key", "retry_rejects"),
    ("engine", "retry_rejects"),
    ("engine", "worker"),
    ("engine", "run_key"),
    ("reuse_across_code", "retry_rejects"),
)
_NOT_WITH_LOOKS = {
    "preview": ("limit", "fresh", "reuse_across_code", "report_file"),
    "rehearse": ("limit", "reuse_across_code"),
    "against": ("limit", "fresh", "reuse_across_code"),
}
_NEVER_WITH_LOOKS = (
    "resume",
    "retry_rejects",
    "journal",
    "workers",
    "worker",
    "run_key",
    "engine",
    "dry_run",
    "graph",
    "html_file",
)
_ONLY_WORKFLOWS = ("from_task", "skip")
_RESUMING = ("resume", "allow_code_change")
_NOT_IN_DRY_RUNS = ("resume", "retry_rejects", "worker", "run_key", "engine")
_NEEDED_PARTNERS = {
    "allow_code_change": ("resume", "worker"),
    "engine_args": ("engine",),
    "price_per_tib": ("dry_run",),
    "graph_format": ("graph",),
    "sample": ("against",),
    "seed": ("rehearse", "against"),
    "keep_table": ("rehearse",),
    "as_json": _LOOKS,
}


def check_partners(options: dict[str, Any]) -> None:
    """Check that the options that are given go together, whatever the job is."""
    for name, partners in _NEEDED_PARTNERS.items():
        is_given = options[name] not in (None, ()) and options[name] is not False
        if is_given and not any(options[each] for each in partners):
            shown = " or ".join(map(spelled, partners))
            raise click.UsageError(f"{spelled(name)} goes with {shown}")
    for one, other in _EXCLUSIVE:
        if options[one] and options[other]:
            raise click.UsageError(f"{spelled(one)} does not go with {spelled(other)}")
    looks = [name for name in _LOOKS if options[name]]
    for look in looks:
        others = [*(name for name in looks if name != look), *_NEVER_WITH_LOOKS]
        for other in (*others, *_NOT_WITH_LOOKS[look]):
            if options[other]:
                raise click.UsageError(f"{spelled(other)} does not go with {spelled(look)}")


def check_outputs(options: dict[str, Any]) -> None:
    """Check that the files of `--report` and `--html` can be written, before anything is run."""
    from etlkit.cli.output_files import STDOUT, check_output

    if options["report_file"] not in (None, STDOUT):
        check_output(options["report_file"], "the report")
    if options["html_file"] is None:
        return
    from etlkit.cli.pages.base import check_page

    if options["dry_run"]:
        raise click.UsageError("--html does not go with --dry-run: there is no run")
    check_page(options["html_file"])


def check_kind(job: object, options: dict[str, Any]) -> None:
    """Check that the options apply to this kind of job."""
    from etlkit.api.datamart import Datamart
    from etlkit.cli.job_loader import is_workflow
    from etlkit.errors import ConfigError

    refused: dict[str, tuple[str, ...]] = {}
    if is_workflow(job):
        refused["a workflow"] = (*_ONLY_TRANSFERS, "price_per_tib")
    elif isinstance(job, Datamart):
        refused["a datamart"] = (*_ONLY_TRANSFERS, *_ONLY_WORKFLOWS, *_RESUMING, "only")
    else:
        refused["a transfer"] = _ONLY_WORKFLOWS
        if options["only"] and not options["retry_rejects"]:
            raise click.UsageError("of a transfer, --only goes with --retry-rejects")
        if len(options["only"]) > 1:
            raise click.UsageError("of a transfer, --only takes one class of error")
    if options["dry_run"]:
        refused["--dry-run"] = _NOT_IN_DRY_RUNS
    for kind, names in refused.items():
        given = [spelled(name) for name in names if options.get(name)]
        if given:
            verb = "does" if len(given) == 1 else "do"
            raise ConfigError(f"{', '.join(given)} {verb} not go with {kind}")
