"""What dbt's manifest of a project says about tables.

See https://docs.getdbt.com/reference/artifacts/manifest-json
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from etlkit.workflow.task_kind import Tables

TARGET = "target"
"""The folder of a project in which dbt keeps its manifest."""

MANIFEST = "manifest.json"
_OWN_FOLDERS = frozenset({TARGET, "logs", "dbt_packages", "dbt_internal_packages"})
_MADE = frozenset({"model", "seed", "snapshot"})


def project_files(project: Path) -> Iterator[Path]:
    """The files of a project, without what dbt makes and without hidden ones."""
    for path in sorted(project.rglob("*")):
        inner = path.relative_to(project).parts
        is_hidden = any(part.startswith(".") for part in inner)
        if path.is_file() and not is_hidden and inner[0] not in _OWN_FOLDERS:
            yield path


def manifest_tables(project: Path) -> Tables:
    """The sources that a project reads, and the models, seeds and snapshots that it makes.

    Names are without the project of Google Cloud: the manifest may be of a local run.

    Args:
        project: The folder of the project.
    """
    path = project / TARGET / MANIFEST
    how = f"run `dbt parse` in {project}"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        made_at = path.stat().st_mtime
    except (OSError, ValueError):
        return Tables(unclear=(f"there is no {path}: {how}",))
    unclear: tuple[str, ...] = ()
    if any(file.stat().st_mtime > made_at for file in project_files(project)):
        unclear = (f"files changed after {path} was made: {how}",)
    return Tables(
        frozenset(map(_name, manifest.get("sources", {}).values())),
        frozenset(
            _name(node)
            for node in manifest.get("nodes", {}).values()
            if node.get("resource_type") in _MADE and node.get("relation_name")
        ),
        unclear,
    )


def _name(node: dict[str, Any]) -> str:
    return f"{node['schema']}.{node.get('identifier') or node.get('alias') or node['name']}"
