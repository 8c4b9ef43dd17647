"""What runs a job as a Cloud Run job on a schedule, as texts: image, build and commands.

Sources: https://docs.cloud.google.com/sdk/gcloud/reference/run/jobs/deploy,
https://docs.cloud.google.com/run/docs/execute/jobs-on-schedule,
https://docs.cloud.google.com/sdk/gcloud/reference/scheduler/jobs/create/http
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass, field

from etlkit.cli.key_files import KEY_FILES

_APIS = ("artifactregistry", "bigquery", "bigquerystorage", "cloudbuild", "iam", "run")
ROLES = ("roles/bigquery.user", "roles/bigquery.dataEditor")
"""What a job needs in its project."""

_IGNORED = (
    ".git",
    ".venv/",
    ".etlkit/",
    "__pycache__/",
    *KEY_FILES,
)
_DOCS = "https://docs.cloud.google.com"


@dataclass(frozen=True, kw_only=True)
class CloudRunJob:
    """A job of etlkit on Cloud Run.

    Attributes:
        command: How the image starts, as it is typed.
        name: Of the Cloud Run job, the image and the schedule.
        project: Google Cloud project.
        region: Where the job, the image and the schedule are.
        service_account: The e-mail address that the job runs as; None = one of its own is made.
        schedule: Five fields of cron; None = nothing starts it by itself.
        time_zone: Of the schedule.
        max_retries: How often Cloud Run starts it again after a failure.
        tasks: How many tasks share a run.
        task_timeout: How long one attempt may take, e.g. `2h`.
        memory: Of the container, e.g. `1Gi`.
        cpu: Of the container.
        environ: Environment variables.
        secrets: Environment variable to `SECRET:VERSION` of Secret Manager.
        requirements: Whether packages come from `requirements.txt`; else from `pyproject.toml`.
        extras: Extras of the package to install, for `pyproject.toml`.
        has_gitignore: Whether the project has a `.gitignore`.
        made_by: The command line that made this.
    """

    command: tuple[str, ...]
    name: str
    project: str
    region: str
    service_account: str | None = None
    schedule: str | None = None
    time_zone: str = "Etc/UTC"
    max_retries: int = 3
    tasks: int = 1
    task_timeout: str = "1h"
    memory: str = "1Gi"
    cpu: str = "1"
    environ: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    requirements: bool = False
    extras: tuple[str, ...] = ()
    has_gitignore: bool = False
    made_by: str = ""

    def files(self, folder: str, root: str) -> dict[str, str]:
        """Name to text of each file.

        Args:
            folder: Where they are, from the root of the project, e.g. `deploy`.
            root: The root of the project, from that folder, e.g. `..`.
        """
        return {
            "Dockerfile": self.dockerfile(),
            "cloudbuild.json": self.build(folder),
            "gcloudignore": self.ignored(),
            "deploy.sh": self.script(folder, root),
        }

    def dockerfile(self) -> str:
        """The image: Python, the packages, the project's files. It holds no secret."""
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        if self.requirements:
            install = "COPY requirements.txt ./\nRUN pip install --no-cache-dir -r requirements.txt"
            install += "\nCOPY . ."
        else:
            package = f".[{','.join(self.extras)}]" if self.extras else "."
            install = f"COPY . .\nRUN pip install --no-cache-dir {shlex.quote(package)}"
        return f"""\
# {self._made_by()}
FROM python:{python}-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
{install}
# The job may write new files beside the project's, e.g. a page of the run, and change none.
RUN useradd --create-home --uid 10001 etlkit && chown etlkit /app
USER etlkit
ENTRYPOINT {json.dumps(list(self.command))}
"""

    def build(self, folder: str) -> str:
        """The configuration of Cloud Build."""
        arguments = ["build", "--file", f"{folder}/Dockerfile", "--tag", "$_IMAGE", "."]
        step = {"name": "gcr.io/cloud-builders/docker", "args": arguments}
        return json.dumps({"steps": [step], "images": ["$_IMAGE"]}, indent=2) + "\n"

    def ignored(self) -> str:
        """What is not uploaded, and so cannot get into the image."""
        lines = [
            "# Not uploaded: https://docs.cloud.google.com/sdk/gcloud/reference/topic/gcloudignore"
        ]
        lines += _IGNORED
        if self.has_gitignore:
            lines.append("#!include:.gitignore")
        return "\n".join(lines) + "\n"

    def script(self, folder: str, root: str) -> str:
        """The commands, as a script of bash."""
        parts = [self._head(root), self._account(), self._image(folder), self._job()]
        if self.schedule is not None:
            parts.append(self._trigger())
        parts.append(_END_SCHEDULED if self.schedule is not None else _END)
        return "\n".join(parts)

    def _made_by(self) -> str:
        """One line of a comment, whatever was typed."""
        return "Made by: " + " ".join(self.made_by.split())

    def _head(self, root: str) -> str:
        account_id = f"etlkit-{self.name}"[:30].rstrip("-")
        own = f"{account_id}@{self.project}.iam.gserviceaccount.com"
        if ":" in self.project:  # of a domain
            domain, _, name = self.project.partition(":")
            own = f"{account_id}@{name}.{domain}.iam.gserviceaccount.com"
        values = {
            "PROJECT": self.project,
            "REGION": self.region,
            "NAME": self.name,
            "ACCOUNT": self.service_account or own,
        }
        lines = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
        services = [*_APIS, *(["cloudscheduler"] if self.schedule else [])]
        services += ["secretmanager"] if self.secrets else []
        enabled = " ".join(f"{each}.googleapis.com" for each in services)
        return f"""\
#!/usr/bin/env bash
# {self._made_by()}
#
# It may be run again: what is there already is kept or updated. You need these roles in the project:
# roles/serviceusage.serviceUsageAdmin, roles/iam.serviceAccountAdmin, roles/iam.serviceAccountUser,
# roles/resourcemanager.projectIamAdmin, roles/artifactregistry.admin, roles/cloudbuild.builds.editor,
# roles/run.admin, roles/cloudscheduler.admin; roles/secretmanager.admin if the job has secrets.
set -euo pipefail
cd -- "$(dirname -- "${{BASH_SOURCE[0]}}")"/{shlex.quote(root)}

{chr(10).join(lines)}
REPOSITORY=etlkit
IMAGE="$REGION-docker.pkg.dev/${{PROJECT//://}}/$REPOSITORY/$NAME:$(date -u +%Y%m%d-%H%M%S)"

# The services: {_DOCS}/service-usage/docs/enable-disable
gcloud services enable {enabled} --project="$PROJECT"
"""

    def _account(self) -> str:
        make = ""
        if self.service_account is None:
            make = """\
gcloud iam service-accounts describe "$ACCOUNT" --project="$PROJECT" >/dev/null 2>&1 ||
  gcloud iam service-accounts create "${ACCOUNT%%@*}" --project="$PROJECT" \\
    --display-name="etlkit job $NAME"
"""
        secrets = "".join(
            f"gcloud secrets add-iam-policy-binding {shlex.quote(secret)} "
            '--project="$PROJECT" \\\n  --member="serviceAccount:$ACCOUNT" '
            "--role=roles/secretmanager.secretAccessor >/dev/null\n"
            for secret in sorted({value.partition(":")[0] for value in self.secrets.values()})
        )
        return f"""\
# The account that the job runs as, and what it may do. Give it less than the whole project where you
# can, and more where the job needs it, e.g. roles/storage.objectViewer for buckets and
# roles/bigquery.connectionUser for object tables: {_DOCS}/bigquery/docs/access-control
{make}for role in {" ".join(ROLES)}; do
  gcloud projects add-iam-policy-binding "$PROJECT" --member="serviceAccount:$ACCOUNT" \\
    --role="$role" --condition=None --quiet >/dev/null
done
{secrets}"""

    def _image(self, folder: str) -> str:
        file = shlex.quote(f"{folder}/cloudbuild.json")
        ignore = shlex.quote(f"{folder}/gcloudignore")
        return f"""\
# The image: {_DOCS}/build/docs/running-builds/submit-build-via-cli-api
gcloud artifacts repositories describe "$REPOSITORY" --location="$REGION" --project="$PROJECT" \\
  >/dev/null 2>&1 ||
  gcloud artifacts repositories create "$REPOSITORY" --repository-format=docker \\
    --location="$REGION" --project="$PROJECT"
gcloud builds submit . --config={file} --ignore-file={ignore} \\
  --substitutions="_IMAGE=$IMAGE" --region="$REGION" --project="$PROJECT"
"""

    def _job(self) -> str:
        options = [
            f"--tasks={self.tasks} --parallelism={self.tasks}",
            f"--max-retries={self.max_retries} --task-timeout={shlex.quote(self.task_timeout)}",
            f"--memory={shlex.quote(self.memory)} --cpu={shlex.quote(self.cpu)}",
        ]
        if self.environ:
            options.append(shlex.quote(f"--set-env-vars={_listed(self.environ)}"))
        if self.secrets:
            options.append(shlex.quote(f"--set-secrets={_listed(self.secrets)}"))
        lines = "".join(f" \\\n  {each}" for each in options)
        shared = ""
        if self.tasks > 1:
            shared = f"""\
# Its {self.tasks} tasks share one run, which CLOUD_RUN_EXECUTION names:
# {_DOCS}/run/docs/container-contract#jobs-env-vars
"""
        return f"""\
# The job: {_DOCS}/run/docs/create-jobs
{shared}\
# A task that fails is started again (--max-retries), and goes on where it stopped (--resume=auto).
gcloud run jobs deploy "$NAME" --image="$IMAGE" --region="$REGION" --project="$PROJECT" \\
  --service-account="$ACCOUNT"{lines}
"""

    def _trigger(self) -> str:
        schedule, zone = shlex.quote(self.schedule or ""), shlex.quote(self.time_zone)
        return f"""\
# The schedule: {_DOCS}/run/docs/execute/jobs-on-schedule
gcloud run jobs add-iam-policy-binding "$NAME" --region="$REGION" --project="$PROJECT" \\
  --member="serviceAccount:$ACCOUNT" --role=roles/run.invoker >/dev/null
if gcloud scheduler jobs describe "$NAME" --location="$REGION" --project="$PROJECT" \\
  >/dev/null 2>&1; then verb=update; else verb=create; fi
gcloud scheduler jobs "$verb" http "$NAME" --location="$REGION" --project="$PROJECT" \\
  --schedule={schedule} --time-zone={zone} --http-method=POST \\
  --uri="https://run.googleapis.com/v2/projects/$PROJECT/locations/$REGION/jobs/$NAME:run" \\
  --oauth-service-account-email="$ACCOUNT"
"""


_END = """\
echo "Deployed. Start it with: gcloud run jobs execute $NAME --region=$REGION --project=$PROJECT"
"""
_END_SCHEDULED = """\
echo "Deployed and scheduled. Start it now with:"
echo "  gcloud run jobs execute $NAME --region=$REGION --project=$PROJECT"
"""


def _listed(values: dict[str, str]) -> str:
    """A dictionary as gcloud takes it, with a delimiter that no value has.

    Source: https://docs.cloud.google.com/sdk/gcloud/reference/topic/escaping
    """
    pairs = [f"{name}={value}" for name, value in values.items()]
    if not any("," in pair for pair in pairs):
        return ",".join(pairs)
    delimiter = next(mark for mark in _delimiters() if not any(mark in pair for pair in pairs))
    return f"^{delimiter}^{delimiter.join(pairs)}"


def _delimiters() -> list[str]:
    return [character * number for number in range(1, 9) for character in "#|~;@"]
