"""Dockerfiles, Cloud Build and GitHub workflows: this repository's, and those of a new project."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from etlkit._version import __version__
from etlkit.cli.key_files import KEY_FILES
from etlkit.cli.root import main

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "schedule" / "github-actions.yml"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("new") / "shop"
    assert main(["init", str(folder), "--template", "sql"]) == 0
    return folder


@pytest.fixture(params=["repository", "project"])
def home(request, project):
    """A folder with a Dockerfile: the repository, or a new project."""
    return ROOT if request.param == "repository" else project


def instructions(dockerfile):
    """The instructions of a Dockerfile, as word and rest."""
    text = re.sub(r"\\\n", " ", dockerfile.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def test_an_image_is_pinned_small_and_not_of_root(home):
    """The rules of hadolint that matter here, and a build stage that stays behind."""
    found = instructions(home / "Dockerfile")
    bases = [rest for word, rest in found if word == "FROM"]
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+( AS build)?", base) for base in bases)
    last = found[len(found) - [word for word, _ in reversed(found)].index("FROM") :]
    words = [word for word, _ in found]
    assert "ADD" not in words
    assert not [
        rest for word, rest in found if word == "RUN" and re.search("sudo|apt-get|curl", rest)
    ]
    (user,) = [rest for word, rest in last if word == "USER"]
    assert user.isdigit()
    assert int(user) > 0
    assert [word for word, _ in last].index("USER") < [word for word, _ in last].index("ENTRYPOINT")
    assert all(rest.startswith("[") for word, rest in found if word in {"ENTRYPOINT", "CMD"})
    copied = {rest.split()[0] for word, rest in last if word == "COPY" and "--from" not in rest}
    assert copied == {"transforms", "jobs"}


@pytest.mark.parametrize("template", ["blank", "rest", "sql", "vision"])
def test_all_that_an_image_takes_from_a_new_project_is_there(template, tmp_path):
    """A folder that is not there ends the build; git keeps no empty one."""
    folder = tmp_path / "shop"
    assert main(["init", str(folder), "--template", template]) == 0
    copied = [
        rest.split()
        for word, rest in instructions(folder / "Dockerfile")
        if word == "COPY" and "--from" not in rest
    ]
    sources = [folder / source for source, _ in copied if source != "."]
    assert len(sources) == 2
    assert all(any(source.iterdir()) for source in sources)


def test_no_key_and_no_data_gets_into_an_image(home):
    """Also not into the stage that stays behind."""
    ignored = set((home / ".dockerignore").read_text().splitlines())
    assert {"**/*.pem", "**/*.key", "**/.env", "**/key.json"} <= ignored
    assert {f"**/{each}" for each in KEY_FILES} <= ignored
    assert "*" in ignored or {".git", ".venv", ".etlkit"} <= ignored


def test_git_takes_no_key(project):
    """Nor does `gcloud builds submit`, which leaves out what git does."""
    git = shutil.which("git")
    names = [
        "key.json",
        "my-key.json",
        "gcp_credentials.json",
        ".env",
        ".env.local",
        "a.pem",
        "b.p12",
    ]
    for folder in (project, project / "jobs"):
        subprocess.run([git, "init", "-q"], cwd=project, check=True)
        found = subprocess.run(
            [git, "check-ignore", "--no-index", *names],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.splitlines() == names


def test_the_image_of_a_project_holds_its_job(project):
    """The start command names a job that is there, and no package of the project is there twice."""
    (started,) = [rest for word, rest in instructions(project / "Dockerfile") if word == "CMD"]
    assert started == '["jobs.sales_by_day"]'
    name = tomllib.loads((project / "pyproject.toml").read_text())["project"]["name"]
    assert f"uninstall --yes {name} pip" in (project / "Dockerfile").read_text()
    assert yaml.safe_load((project / "cloudbuild.yaml").read_text())["substitutions"]["_JOB"] == (
        "sales-by-day"
    )


def test_workflows_and_builds_have_the_form_that_their_services_take(project):
    """By the schemas that come with check-jsonschema."""
    workflows = [EXAMPLE, *(ROOT / ".github" / "workflows").glob("*.yml")]
    workflows += (project / ".github" / "workflows").glob("*.yml")
    builds = [ROOT / "cloudbuild.yaml", project / "cloudbuild.yaml"]
    for schema, files in (("github-workflows", workflows), ("cloudbuild", builds)):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "check_jsonschema",
                "--builtin-schema",
                f"vendor.{schema}",
                *files,
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_workflows_ask_for_little_and_use_what_is_there(project):
    """Few rights, a bound on time, actions of a version, and no text of an event in a script."""
    homes = {ROOT: EXAMPLE.parent, project: project}
    for home in homes:
        targets = set(re.findall(r"^([\w-]+):", (home / "Makefile").read_text(), re.MULTILINE))
        for path in (home / ".github" / "workflows").glob("*.yml"):
            workflow = yaml.safe_load(path.read_text())
            assert workflow["permissions"]["contents"] == "read", path
            for name, job in workflow["jobs"].items():
                assert "uses" in job or job["timeout-minutes"] <= 60, (path, name)
                assert set(job.get("needs", "").split()) <= set(workflow["jobs"])
                for step in job.get("steps", ()):
                    assert "uses" not in step or re.search(r"@(v\d+|release/v\d+)$", step["uses"])
                    run = step.get("run", "")
                    assert "${{" not in run, "a text of others could become a command"
                    for made in re.findall(r"make ([a-z -]+)", run):
                        assert set(made.split()) <= targets, (path, made)


def test_a_release_needs_its_section_in_the_changelog():
    """And the version of the tag in the code."""

    def check(version):
        return subprocess.run(
            [shutil.which("make"), "changelog", f"VERSION={version}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert "CHANGELOG.md has no section [99.0.0]" in check("99.0.0").stdout
    has_section = f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert (check(__version__).returncode == 0) == has_section
