"""What users install: the wheel has all of etlkit but the models, which are a package of their own."""

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from etlkit._version import __version__

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "etlkit" / "local" / "models"
BUILD_FILES = {"pyproject.toml", "README.md"}


def built(project, target, **environ):
    """Build a wheel without a network, as `make dist` builds it."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        check=True,
        timeout=120,
    )
    (wheel,) = target.glob("*.whl")
    return ZipFile(wheel)


@pytest.fixture(scope="module")
def slim(tmp_path_factory):
    return built(ROOT, tmp_path_factory.mktemp("slim"), ETLKIT_WHEEL="slim")


def files(folder, root):
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(root)) for path in found if "__pycache__" not in path.parts}


def test_a_slim_wheel_has_all_but_the_models(slim):
    """Templates of projects and pages, types and texts included."""
    expected = files(ROOT / "etlkit", ROOT) - files(MODELS, ROOT)
    packed = {name for name in slim.namelist() if ".dist-info/" not in name}
    assert packed == expected
    assert {"etlkit/py.typed", "etlkit/cli/scaffold/templates/common/Makefile.template"} <= packed
    assert Path(slim.filename).stat().st_size < 3_000_000


def test_its_extra_needs_the_package_that_has_them(slim, tmp_path):
    """Without it, one sentence says what to install; with it, the models are found."""
    (metadata,) = (name for name in slim.namelist() if name.endswith("/METADATA"))
    needed = f"Requires-Dist: etlkit-bigquery-models=={__version__}; extra == 'local'"
    assert needed in slim.read(metadata).decode().splitlines()

    models = built(MODELS, tmp_path / "dist")
    packed = {name.partition("/")[2] for name in models.namelist() if ".dist-info/" not in name}
    assert packed == files(MODELS, MODELS) - BUILD_FILES

    slim.extractall(tmp_path / "site")
    code = "from etlkit.local.model_folder import model_folder; print(model_folder())"

    def found():
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert f"pip install etlkit-bigquery-models=={__version__}" in found().stderr
    models.extractall(tmp_path / "site")
    assert found().stdout.strip() == str(tmp_path / "site" / "etlkit_bigquery_models")


def test_a_wheel_of_a_clone_has_the_models(tmp_path):
    """`pip install .` and `pip wheel .` need no second package."""
    wheel = built(ROOT, tmp_path, ETLKIT_WHEEL="")
    assert files(MODELS, ROOT) - {f"etlkit/local/models/{name}" for name in BUILD_FILES} <= set(
        wheel.namelist()
    )
