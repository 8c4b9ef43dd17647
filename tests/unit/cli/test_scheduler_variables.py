import re

import pytest

from etlkit.api.scheduler_task import SchedulerTask
from etlkit.cli.root import main
from etlkit.cli.scheduler_variables import OFF, scheduler_task
from etlkit.errors import ConfigError

CLOUD_RUN = {
    "CLOUD_RUN_TASK_INDEX": "2",
    "CLOUD_RUN_TASK_COUNT": "8",
    "CLOUD_RUN_TASK_ATTEMPT": "1",
    "CLOUD_RUN_EXECUTION": "daily-abcde",
}
KUBERNETES = {"JOB_COMPLETION_INDEX": "0", "ETLKIT_TASK_COUNT": "4", "ETLKIT_RUN_KEY": "uid-1"}
SLURM = {
    "SLURM_ARRAY_TASK_ID": "14",
    "SLURM_ARRAY_TASK_COUNT": "3",
    "SLURM_ARRAY_TASK_MIN": "10",
    "SLURM_ARRAY_TASK_MAX": "14",
    "SLURM_ARRAY_TASK_STEP": "2",
    "SLURM_ARRAY_JOB_ID": "4711",
    "SLURM_CLUSTER_NAME": "hpc",
}
ALONE = CLOUD_RUN | {"CLOUD_RUN_TASK_INDEX": "0", "CLOUD_RUN_TASK_COUNT": "1"}
GAPS = SLURM | {"SLURM_ARRAY_TASK_ID": "99", "SLURM_ARRAY_TASK_STEP": "1"}


@pytest.mark.parametrize(
    ("worker", "run_key", "environ", "expected"),
    [
        (None, None, {}, None),
        (None, None, CLOUD_RUN, SchedulerTask(2, 8, "cloud-run daily-abcde")),
        (None, "mine", CLOUD_RUN, SchedulerTask(2, 8, "mine")),
        (None, None, ALONE, None),  # what every Cloud Run job has
        (None, "mine", ALONE, SchedulerTask(0, 1, "mine")),
        (None, None, KUBERNETES, SchedulerTask(0, 4, "uid-1")),
        (None, None, SLURM, SchedulerTask(2, 3, "slurm hpc 4711")),
        (None, None, GAPS, SchedulerTask(2, 3, "slurm hpc 4711")),
        ((1, 2), "mine", KUBERNETES | CLOUD_RUN, SchedulerTask(1, 2, "mine")),
        ((1, 2), None, CLOUD_RUN, SchedulerTask(1, 2, "cloud-run daily-abcde")),
        ((0, 1), None, {"ETLKIT_RUN_KEY": "k"}, SchedulerTask(0, 1, "k")),
        (OFF, None, KUBERNETES | CLOUD_RUN, None),
    ],
)
def test_what_is_given_goes_before_what_a_scheduler_says(worker, run_key, environ, expected):
    """Numbers from 0, as schedulers count; a lone task is no task."""
    assert scheduler_task(worker, run_key, environ) == expected


@pytest.mark.parametrize(
    ("worker", "run_key", "environ", "said"),
    [
        ((0, 3), None, {}, "--run-key KEY"),
        ((0, 3), None, {"JOB_COMPLETION_INDEX": "0"}, "--run-key KEY"),
        (None, "mine", {}, "--worker I/N"),
        (OFF, "mine", {}, "--worker off"),
        (None, None, CLOUD_RUN | SLURM, "Cloud Run and a Slurm job array"),
        (None, None, {"JOB_COMPLETION_INDEX": "1"}, "ETLKIT_TASK_COUNT"),
        (None, None, KUBERNETES | {"ETLKIT_RUN_KEY": ""}, "ETLKIT_RUN_KEY"),
        (None, None, KUBERNETES | {"JOB_COMPLETION_INDEX": "4"}, "task 4, counted from 0"),
        (None, None, CLOUD_RUN | {"CLOUD_RUN_TASK_INDEX": "two"}, "CLOUD_RUN_TASK_INDEX is 'two'"),
        (None, None, CLOUD_RUN | {"ETLKIT_TASK_COUNT": "9"}, "Cloud Run has 8 tasks"),
        (None, "k" * 201, CLOUD_RUN, "200 characters"),
    ],
)
def test_what_is_missing_or_contradicts_is_refused(worker, run_key, environ, said):
    """Before any I/O, with what to give."""
    with pytest.raises(ConfigError, match=re.escape(said)):
        scheduler_task(worker, run_key, environ)


@pytest.mark.parametrize("worker", ["3/2", "0/2", "1/0", "1", "-1/2", "1/2/3", "on"])
def test_a_place_that_cannot_be(worker, capsys):
    """`I/N` with I from 1 to N."""
    assert main(["run", "jobs.none", "--worker", worker, "--run-key", "k"]) == 2
    assert "--worker" in capsys.readouterr().err
