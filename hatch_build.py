"""The two forms of the wheel: with the models of the local Vision, or without these 24 MB.

`pip install .` and `pip wheel .` take the models along. `ETLKIT_WHEEL=slim`, as in `make dist`, leaves
them out: the extra `local` of such a wheel needs `etlkit-bigquery-models`, which is built from
`etlkit/local/models`. So what runs only on Google Cloud never downloads a model.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODELS = "etlkit/local/models"


class ModelsHook(BuildHookInterface[Any]):
    """Adds the models, or the requirement of the package that has them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See `BuildHookInterface.initialize`; `version` is `standard` or `editable`."""
        if self.target_name != "wheel" or version == "editable":
            return
        if os.environ.get("ETLKIT_WHEEL") == "slim":
            needed = f"etlkit-bigquery-models=={self.metadata.version}; extra == 'local'"
            build_data["dependencies"].append(needed)
            return
        for path in Path(self.root, MODELS).rglob("*"):
            if path.is_file() and path.name not in {"pyproject.toml", "README.md"}:
                build_data["force_include"][str(path)] = str(path.relative_to(self.root))
