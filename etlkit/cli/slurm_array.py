"""What runs a job as an array of Slurm, as text.

Sources: https://slurm.schedmd.com/job_array.html, https://slurm.schedmd.com/sbatch.html
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class SlurmArray:
    """A job of etlkit as a job array.

    Attributes:
        command: What each task runs, as it is typed.
        name: Of the array.
        tasks: How many tasks share a run.
        max_retries: How often each of them is queued again after a failure.
        time_limit: Of each task, as Slurm takes it, e.g. `24:00:00`.
        memory: Of each task, e.g. `1G`.
        cpu: CPUs of each task.
        partition: Where it is queued; None = the cluster's default.
        environ: Environment variables.
        made_by: The command line that made this.
    """

    command: tuple[str, ...]
    name: str
    tasks: int
    max_retries: int = 3
    time_limit: str = "24:00:00"
    memory: str = "1G"
    cpu: str = "1"
    partition: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    made_by: str = ""

    def files(self) -> dict[str, str]:
        """Name to text of the file."""
        return {"job.sbatch": self.script()}

    def script(self) -> str:
        """The batch script."""
        partition = "" if self.partition is None else f"#SBATCH --partition={self.partition}\n"
        exports = "".join(
            f"export {name}={shlex.quote(value)}\n" for name, value in self.environ.items()
        )
        return f"""\
#!/usr/bin/env bash
# Made by: {self.made_by}
# Submit it in the project's folder, which all nodes see. Options: https://slurm.schedmd.com/sbatch.html
#SBATCH --job-name={self.name}
#SBATCH --array=0-{self.tasks - 1}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task={self.cpu}
#SBATCH --mem={self.memory}
#SBATCH --time={self.time_limit}
{partition}#SBATCH --output={self.name}-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
# 90 s before the time is up, SIGTERM: finished rows are kept, and the other tasks get the rest.
#SBATCH --signal=B:TERM@90
set -uo pipefail
{exports}
{shlex.join(self.command)} &
task=$!
trap 'kill -TERM "$task"' TERM
wait "$task"
status=$?
# A signal ends the wait before the task has ended.
while kill -0 "$task" 2>/dev/null; do
  wait "$task"
  status=$?
done

# Status 1: a service may be down. A task that is queued again goes on with the run of its array.
if [ "$status" -eq 1 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {self.max_retries} ]; then
  scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
exit "$status"
"""
