"""Where the models of the local Vision are: beside this module, or in a package of their own.

A wheel can come without them (see `hatch_build.py`): jobs that run only on Google Cloud do not need
these 24 MB.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from etlkit._version import __version__
from etlkit.errors import ConfigError

_PACKAGE = "etlkit_bigquery_models"


def model_folder() -> Path:
    """The folder of the models.

    Raises:
        ConfigError: Neither this package nor `etlkit-bigquery-models` has them.
    """
    own = Path(__file__).with_name("models")
    spec = find_spec(_PACKAGE)
    elsewhere = (spec.submodule_search_locations or []) if spec else []
    for folder in (own, *map(Path, elsewhere)):
        if (folder / "labels.json").is_file():
            return folder
    raise ConfigError(
        "this etlkit was installed without the models that --local needs: "
        f"pip install etlkit-bigquery-models=={__version__}"
    )
