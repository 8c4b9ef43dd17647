"""`Secret`: the value of an environment variable, which no message shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from etlkit.errors import ConfigError


@dataclass(frozen=True)
class Secret:
    """The value of an environment variable, read when it is used. It is in no report and no log.

    Attributes:
        variable: The environment variable's name.
        prefix: Put before the value, e.g. `Bearer `.
    """

    variable: str
    prefix: str = ""

    def __post_init__(self) -> None:
        """Raise if it is not a name."""
        if not isinstance(self.variable, str) or not re.fullmatch(r"\w+", self.variable, re.ASCII):
            raise ConfigError(
                "Secret(…) takes the name of an environment variable, e.g. Secret('SLACK_WEBHOOK'), "
                "not the secret itself"
            )

    def read(self, environ: Mapping[str, str]) -> str:
        """The prefix and the value, without white space around it: files end with a line break.

        Raises:
            ConfigError: The environment does not have it.
        """
        value = environ.get(self.variable, "").strip()
        if not value:
            raise ConfigError(f"the environment variable {self.variable} is not set or is empty")
        return self.prefix + value

    def __str__(self) -> str:
        return f"${{{self.variable}}}"
