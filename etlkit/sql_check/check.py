"""Checks jobs one after the other: their SQL, the columns in and out, and the tables they leave."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

from etlkit.api.datamart import Datamart
from etlkit.api.job import TransferJob
from etlkit.errors import EtlkitError
from etlkit.sql_check.analyzer import Analyzer
from etlkit.sql_check.checked_job import CheckedJob, NotDescribedError, NotKnownError
from etlkit.sql_check.data_checks import check_data_check, loop_values
from etlkit.sql_check.datamarts import check_datamart
from etlkit.sql_check.jobs import JobList, JobToCheck
from etlkit.sql_check.known import Catalog
from etlkit.sql_check.report import CheckReport, Finding, JobReport
from etlkit.sql_check.sql_text import Place
from etlkit.sql_check.transfers import check_transfer
from etlkit.sql_check.world import World

_JOBS_A_THREAD = 20
"""A thread has an analyzer of its own, which has to be worth it."""

_MAX_THREADS = 4
"""Most of a check is spent in the analyzer, which lets other threads run; the rest is Python."""


def check_jobs(
    jobs: JobList,
    catalog: Catalog,
    analyzer: Analyzer,
) -> CheckReport:
    """Check jobs. Nothing runs and nothing is written.

    Args:
        jobs: What to check, in order.
        catalog: What is there before the first job.
        analyzer: Analyzes single statements.
    """
    began = time.monotonic()
    catalog.prepare(name for job in jobs.jobs for name in (*job.tables.reads, *job.tables.writes))
    world = World(catalog)
    reports = [
        JobReport(
            loaded.name,
            "job",
            None if loaded.file is None else str(loaded.file),
            findings=[Finding(problem, Place(None if loaded.file is None else str(loaded.file)))],
            is_config=True,
        )
        for loaded, problem in jobs.problems
    ]
    reports += [
        JobReport(name, "job", None, notes=[reason]) for name, reason in jobs.unchecked.items()
    ]
    checked = _check_all(jobs, world, analyzer)
    reports += [checked[job.name] for job in jobs.jobs]
    return CheckReport(catalog.title, reports, round(time.monotonic() - began, 3))


def _check_all(jobs: JobList, world: World, analyzer: Analyzer) -> dict[str, JobReport]:
    """The reports by name. Many jobs are checked side by side, as far as none needs another one."""
    num_threads = min(os.cpu_count() or 1, _MAX_THREADS, len(jobs.jobs) // _JOBS_A_THREAD)
    if num_threads < 2:
        return {job.name: _check(job, world, analyzer) for job in jobs.jobs}
    reports: dict[str, JobReport] = {}
    with ThreadPoolExecutor(num_threads) as threads:
        for level in jobs.levels:
            found = threads.map(lambda job: _check(job, world, analyzer), level)
            reports |= {job.name: report for job, report in zip(level, found, strict=True)}
    return reports


def _check(job: JobToCheck, world: World, analyzer: Analyzer) -> JobReport:
    checked = CheckedJob(job, world, analyzer)
    try:
        values = job.values(loop_values(checked))
        if isinstance(job.job, TransferJob):
            check_transfer(checked, job.job, values)
        elif isinstance(job.job, Datamart):
            check_datamart(checked, job.job, values)
        else:
            check_data_check(checked, job.job, values)
    except NotDescribedError as error:
        checked.report.is_config = True
        checked.find(str(error))
    except NotKnownError as error:
        checked.note(str(error))
    except EtlkitError as error:
        checked.find(str(error))
    checked.finish()
    return checked.report
