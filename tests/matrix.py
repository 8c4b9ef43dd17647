"""Run the unit tests and a job with the oldest and newest packages, on each Python.

`python -m tests.matrix [ENVIRONMENT …]`, or `make matrix`.

An environment is `PYTHON:PACKAGES`, e.g. `3.12:oldest`. PACKAGES is `oldest` (the lower bounds of
pyproject.toml, or the first versions above that have a wheel for this Python), `newest`, or `beam`
(beside Apache Beam, which wants an older pyarrow and protobuf).
Without arguments all of them run, on each Python that is found. uv comes from the package index, and
downloads no Python.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".matrix"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
TESTS = ("tests/unit", "tests/processes")
EXTRAS = ("local", "local-tensorflow", "gcs", "report", "test")
PACKAGES = {
    "oldest": (("--resolution", "lowest-direct", "--no-build"), ""),
    "newest": ((), ""),
    "beam": ((), "apache-beam>=2.60\n"),
}


def main(chosen):
    """Run the chosen environments, or all; gives how many failed."""
    pythons = {version: found for version in PYTHONS if (found := interpreter(version))}
    if missing := [version for version in PYTHONS if version not in pythons]:
        print(f"not found, so not run: Python {', '.join(missing)}")
    names = chosen or [f"{version}:{packages}" for version in pythons for packages in PACKAGES]
    results = {name: result(name, pythons) for name in names}
    print(*(f"{name:<12} {said}" for name, said in results.items()), sep="\n")
    return sum(said.startswith("FAILED") for said in results.values())


def interpreter(version):
    """A Python of this version: on the path, or one of pyenv's; None = there is none."""
    homes = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    candidates = [shutil.which(f"python{version}"), *homes.glob(f"{version}.*/bin/python")]
    for candidate in filter(None, candidates):
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return candidate
    return None


def result(name, pythons):
    """Make an environment and run in it; one line about it."""
    version, _, packages = name.partition(":")
    began = time.monotonic()
    home = WORK / name.replace(":", "-")
    try:
        install(home, pythons[version], version, packages)
        run([home / "bin" / "python", "-m", "pytest", "-q", "-n", "2", *TESTS])
        smoke(home)
    except subprocess.CalledProcessError as error:
        return f"FAILED: {' '.join(map(str, error.cmd))}"
    return f"passed in {time.monotonic() - began:.0f} s"


def install(home, python, version, packages):
    """An environment with the packages of that kind, and etlkit from this folder."""
    options, beside = PACKAGES[packages]
    shutil.rmtree(home, ignore_errors=True)
    uv("venv", "--no-python-downloads", "--python", python, home)
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    frozen = home / "requirements.txt"
    needed = home / "beside.in"
    needed.write_text(beside)
    asked = ("pyproject.toml", needed, *extras, *options, "--python-version", version)
    uv("pip", "compile", *asked, "--output-file", frozen)
    into = ("pip", "install", "--python", home / "bin" / "python")
    uv(*into, "--requirement", frozen)
    uv(*into, "--no-deps", "--editable", ".")


def smoke(home):
    """The job of a new project, on the local BigQuery."""
    etlkit, project = home / "bin" / "etlkit", home / "project"
    run([etlkit, "init", project])
    run([etlkit, "run", "jobs.greet", "--local", "--quiet"], cwd=project)


def uv(*arguments):
    run([sys.executable, "-m", "uv", "--quiet", *arguments])


def run(command, cwd=ROOT):
    print("$", *command, flush=True)
    subprocess.run([str(word) for word in command], cwd=cwd, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
