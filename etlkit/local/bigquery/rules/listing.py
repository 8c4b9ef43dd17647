"""All rules in order, for people to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etlkit.local.bigquery.rules.registry import Rule


def all_rules() -> list[Rule]:
    """Every rule of the local server, by area and name. Imports the emulator, but starts nothing."""
    from etlkit.local.bigquery.emulator import silence

    silence()
    from etlkit.local.bigquery.rules.registry import all_rules as registered

    return registered()
