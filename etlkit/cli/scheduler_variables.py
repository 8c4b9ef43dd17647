"""Which task of a scheduler this process is, by options and by the scheduler's variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import click

from etlkit.api.scheduler_task import SchedulerTask
from etlkit.errors import ConfigError

OFF = "off"
KEY_VARIABLE = "ETLKIT_RUN_KEY"
COUNT_VARIABLE = "ETLKIT_TASK_COUNT"

_PLACE = re.compile(r"(\d{1,6})/(\d{1,6})")


@dataclass(frozen=True)
class _Found:
    """What the variables of one scheduler say.

    Attributes:
        scheduler: Its name.
        index: Number of the task, from 0.
        count: How many there are; None = the scheduler does not say.
        key: What all tasks have in common; None = the scheduler does not say.
    """

    scheduler: str
    index: int
    count: int | None
    key: str | None


class Worker(click.ParamType):  # type: ignore[type-arg]
    """The type of `--worker`: `I/N` with I from 1, or `off`."""

    name = "worker"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int] | str:
        """Read it; gives the number from 0 and the count."""
        if value == OFF:
            return OFF
        match = _PLACE.fullmatch(value)
        if match is None:
            self.fail(f"{value!r}: write I/N, e.g. 2/8 for the second of eight, or off", param, ctx)
        index, count = int(match[1]) - 1, int(match[2])
        if not 0 <= index < count:
            self.fail(f"{value!r}: I is a number from 1 to N", param, ctx)
        return index, count


def scheduler_task(
    worker: tuple[int, int] | str | None, run_key: str | None, environ: Mapping[str, str]
) -> SchedulerTask | None:
    """Find out which task this is.

    Args:
        worker: Value of `--worker`; None = it was not given.
        run_key: Value of `--run-key`; likewise.
        environ: The environment.

    Returns:
        None = this process runs the whole job.

    Raises:
        ConfigError: Something is missing, or variables contradict each other.
    """
    if worker == OFF:
        if run_key is not None:
            raise ConfigError("--run-key does not go with --worker off: nothing is shared then")
        return None
    if isinstance(worker, tuple):
        return SchedulerTask(*worker, _key_of_worker(run_key, environ))
    found = _found(environ)
    if found is None:
        if run_key is not None:
            raise ConfigError(
                "--run-key goes with --worker I/N: no variable of a scheduler says which task this is"
            )
        return None
    count = _count(found, environ)
    if count == 1 and run_key is None:  # e.g. each Cloud Run job has the variables
        return None
    if not found.index < count:
        raise ConfigError(
            f"{found.scheduler} says that this is task {found.index}, counted from 0, but there are "
            f"{count}. Correct {COUNT_VARIABLE}, or give --worker I/N"
        )
    return SchedulerTask(found.index, count, run_key or _key(found, environ))


def _found(environ: Mapping[str, str]) -> _Found | None:
    found = [each for each in (_cloud_run(environ), _kubernetes(environ), _slurm(environ)) if each]
    if len(found) > 1:
        names = " and ".join(each.scheduler for each in found)
        raise ConfigError(
            f"the variables of {names} are set, and they may contradict each other: say which task "
            "this is with --worker I/N --run-key KEY, or --worker off if it is none"
        )
    return found[0] if found else None


def _cloud_run(environ: Mapping[str, str]) -> _Found | None:
    """Source: https://docs.cloud.google.com/run/docs/container-contract#jobs-env-vars."""
    index = _number(environ, "CLOUD_RUN_TASK_INDEX")
    if index is None:
        return None
    count = _number(environ, "CLOUD_RUN_TASK_COUNT")
    execution = environ.get("CLOUD_RUN_EXECUTION")
    return _Found("Cloud Run", index, count, execution and f"cloud-run {execution}")


def _kubernetes(environ: Mapping[str, str]) -> _Found | None:
    """Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode."""
    index = _number(environ, "JOB_COMPLETION_INDEX")
    return None if index is None else _Found("a Kubernetes Indexed Job", index, None, None)


def _slurm(environ: Mapping[str, str]) -> _Found | None:
    """Source: https://slurm.schedmd.com/job_array.html#env_vars."""
    task = _number(environ, "SLURM_ARRAY_TASK_ID")
    if task is None:
        return None
    count = _number(environ, "SLURM_ARRAY_TASK_COUNT")
    first = _number(environ, "SLURM_ARRAY_TASK_MIN") or 0
    step = _number(environ, "SLURM_ARRAY_TASK_STEP") or 1
    # Numbers of an array may have gaps, as in --array=1,5,9: then two tasks begin at the same rows.
    index = (task - first) // step % (count or task - first + 1)
    job, cluster = environ.get("SLURM_ARRAY_JOB_ID"), environ.get("SLURM_CLUSTER_NAME", "")
    return _Found("a Slurm job array", index, count, job and f"slurm {cluster} {job}")


def _number(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(
            f"{name} is {text!r}, which is no number. Say which task this is with --worker I/N "
            "--run-key KEY, or --worker off if it is none"
        )
    return int(text)


def _count(found: _Found, environ: Mapping[str, str]) -> int:
    own = _number(environ, COUNT_VARIABLE)
    if own is not None and found.count is not None and own != found.count:
        raise ConfigError(
            f"{COUNT_VARIABLE} is {own}, but {found.scheduler} has {found.count} tasks: leave "
            f"{COUNT_VARIABLE} out"
        )
    count = found.count if own is None else own
    if not count:
        raise ConfigError(
            f"this is task {found.index} of {found.scheduler}, but nothing says how many there are: "
            f"set {COUNT_VARIABLE} to that number (etlkit deploy writes it), or give --worker I/N. If "
            "this process is to run the whole job, give --worker off"
        )
    return count


def _key(found: _Found, environ: Mapping[str, str]) -> str:
    key = environ.get(KEY_VARIABLE) or found.key
    if not key:
        raise ConfigError(
            f"nothing says which tasks belong together: {found.scheduler} does not name the run in a "
            f"variable. Set {KEY_VARIABLE} or --run-key to a text that all tasks of this run have and "
            "no other run has (etlkit deploy writes it)"
        )
    return key


def _key_of_worker(run_key: str | None, environ: Mapping[str, str]) -> str:
    """The key of a task that was numbered by hand."""
    key = run_key or environ.get(KEY_VARIABLE)
    if not key:
        found = _found(environ)
        key = None if found is None else found.key
    if not key:
        raise ConfigError(
            "--worker needs --run-key KEY: a text that all tasks of this run have and no other run "
            'has, e.g. KEY=$(date +%s), and for each task --run-key "$KEY"'
        )
    return key
