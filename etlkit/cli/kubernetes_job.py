"""What runs a job as a Kubernetes Indexed Job, as texts: manifests, and the commands that apply them.

Sources: https://kubernetes.io/docs/concepts/workloads/controllers/job/,
https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/,
https://docs.cloud.google.com/kubernetes-engine/docs/how-to/workload-identity
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from etlkit.cli.cloud_run import ROLES

_JOBS = "https://kubernetes.io/docs/concepts/workloads/controllers/job"
_GRACE_S = 60
"""Calls in flight may take 30 s to end, and 10 more for what they gave to be stored."""


@dataclass(frozen=True, kw_only=True)
class KubernetesJob:
    """A job of etlkit on Kubernetes.

    Attributes:
        command: How the container starts, as it is typed.
        name: Of the Kubernetes Job or CronJob.
        namespace: Where it is.
        account: Kubernetes service account that its pods run as.
        project: Google Cloud project that is billed.
        image: Of the container, as it is pulled.
        tasks: How many pods share a run.
        max_retries: How often each of them is started again after a failure.
        schedule: Five fields of cron; None = a Job, which runs once.
        time_zone: Of the schedule.
        memory: Of each pod, e.g. `1Gi`.
        cpu: Of each pod.
        environ: Environment variables.
        secrets: Environment variable to name and key of a Kubernetes Secret.
        made_by: The command line that made this.
    """

    command: tuple[str, ...]
    name: str
    namespace: str
    account: str
    project: str
    image: str
    tasks: int
    max_retries: int = 3
    schedule: str | None = None
    time_zone: str = "Etc/UTC"
    memory: str = "1Gi"
    cpu: str = "1"
    environ: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    made_by: str = ""

    def files(self) -> dict[str, str]:
        """Name to text of each file."""
        return {
            "account.yaml": self.service_account(),
            "job.yaml": self.job(),
            "deploy.sh": self.script(),
        }

    def service_account(self) -> str:
        """The account of the pods. What it may do in Google Cloud is given by `deploy.sh`."""
        return f"""\
# Made by: {self.made_by}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {self.account}
  namespace: {self.namespace}
"""

    def job(self) -> str:
        """The Indexed Job, or the CronJob that makes one at each time of the schedule."""
        if self.schedule is None:
            return f"""\
{self._comment()}apiVersion: batch/v1
kind: Job
metadata:
  generateName: {self.name}-
  namespace: {self.namespace}
spec:
{_indented(self._spec(), 2)}"""
        return f"""\
{self._comment()}apiVersion: batch/v1
kind: CronJob
metadata:
  name: {self.name}
  namespace: {self.namespace}
spec:
  schedule: {json.dumps(self.schedule)}
  timeZone: {json.dumps(self.time_zone)}
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
{_indented(self._spec(), 6)}"""

    def _comment(self) -> str:
        return f"""\
# Made by: {self.made_by}
# Needs Kubernetes 1.29 or later: {_JOBS}/#backoff-limit-per-index
"""

    def _spec(self) -> str:
        return f"""\
completionMode: Indexed
completions: {self.tasks}
parallelism: {self.tasks}
backoffLimitPerIndex: {self.max_retries}
podFailurePolicy:
  rules:
    # Status 2: the job or an option is wrong, and trying again does not help.
    - action: FailJob
      onExitCodes:
        containerName: etlkit
        operator: In
        values: [2]
    # A pod that had to leave its node is started again, and it is no failure.
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
template:
  spec:
    serviceAccountName: {self.account}
    restartPolicy: Never
    terminationGracePeriodSeconds: {_GRACE_S}
    containers:
      - name: etlkit
        image: {json.dumps(self.image)}
        command: {json.dumps(list(self.command))}
        env:
{_indented(self._environ(), 10)}        resources:
          requests:
            cpu: {json.dumps(self.cpu)}
            memory: {self.memory}
          limits:
            memory: {self.memory}
"""

    def _environ(self) -> str:
        own = f"""\
- name: ETLKIT_TASK_COUNT
  value: "{self.tasks}"
# The same for all pods of this Job, and another one for the next: its uid.
- name: ETLKIT_RUN_KEY
  valueFrom:
    fieldRef:
      fieldPath: metadata.labels['batch.kubernetes.io/controller-uid']
"""
        values = "".join(
            f"- name: {name}\n  value: {json.dumps(value)}\n"
            for name, value in self.environ.items()
        )
        secrets = "".join(
            f"- name: {name}\n  valueFrom:\n    secretKeyRef:\n      name: {secret}\n      key: {key}\n"
            for name, (secret, key) in self.secrets.items()
        )
        return own + values + secrets

    def script(self) -> str:
        """The commands, as a script of bash."""
        start = (
            "kubectl create -f job.yaml" if self.schedule is None else "kubectl apply -f job.yaml"
        )
        what = (
            "The Job. Each time you create it, it is a new run"
            if self.schedule is None
            else "The CronJob"
        )
        return f"""\
#!/usr/bin/env bash
# Made by: {self.made_by}
#
# For GKE with Workload Identity Federation. On other clusters leave the first part out, and give the
# pods credentials: https://docs.cloud.google.com/iam/docs/workload-identity-federation-with-kubernetes
set -euo pipefail
cd -- "$(dirname -- "${{BASH_SOURCE[0]}}")"

PROJECT={shlex.quote(self.project)}
CLUSTER_PROJECT="$PROJECT"  # where the cluster is, if that is another project

# What the pods may do: https://docs.cloud.google.com/kubernetes-engine/docs/how-to/workload-identity
# Give them less than the whole project where you can, and more where the job needs it.
NUMBER="$(gcloud projects describe "$CLUSTER_PROJECT" --format='value(projectNumber)')"
POOL="projects/$NUMBER/locations/global/workloadIdentityPools/$CLUSTER_PROJECT.svc.id.goog"
MEMBER="principal://iam.googleapis.com/$POOL/subject/ns/{self.namespace}/sa/{self.account}"
for role in {" ".join(ROLES)}; do
  gcloud projects add-iam-policy-binding "$PROJECT" --member="$MEMBER" --role="$role" \\
    --condition=None --quiet >/dev/null
done

kubectl apply -f account.yaml
# {what}: {_JOBS}/#completion-mode
{start}
"""


def _indented(text: str, spaces: int) -> str:
    return "".join(f"{' ' * spaces}{line}\n" for line in text.splitlines())
