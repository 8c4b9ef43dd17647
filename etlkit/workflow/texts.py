"""`$name$` in the texts of requests, and secrets that must not show up anywhere else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from etlkit.calls.secret import Secret
from etlkit.errors import without_keys
from etlkit.variables.definitions import Value
from etlkit.variables.values import refuse_unknown

_VARIABLE = re.compile(r"\$([^\W\d]\w*)\$")
HIDDEN = "…"


class Filler:
    """Puts the values of variables and secrets into texts, and takes the secrets out again.

    Args:
        variables: Values by bare name.
        environ: The environment variables.
    """

    def __init__(self, variables: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        self._variables = variables
        self._environ = environ
        self._secrets: set[str] = set()

    def text(self, text: str | Secret, encode: Callable[[str], str] = str) -> str:
        """The text with values.

        Args:
            text: With `$name$` in it; a secret stays as it is.
            encode: Applied to each value.

        Raises:
            ConfigError: An unknown variable, or a secret that is not set.
        """
        if isinstance(text, Secret):
            secret = text.read(self._environ)
            self.hide_also(secret.removeprefix(text.prefix))
            return secret
        refuse_unknown(_VARIABLE.findall(text), self._variables)
        return _VARIABLE.sub(lambda found: encode(_shown(self._variables[found[1]])), text)

    def url(self, text: str | Secret) -> str:
        """The address with values that are percent-encoded, so that none can lead elsewhere."""
        return self.text(text, lambda value: quote(value, safe=""))

    def json(self, value: Any) -> Any:
        """A JSON value with values; a text that is `$name$` and no more keeps the value's type."""
        if isinstance(value, Mapping):
            return {self.text(key): self.json(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.json(inner) for inner in value]
        if isinstance(value, str) and (whole := _VARIABLE.fullmatch(value)) is not None:
            refuse_unknown([whole[1]], self._variables)
            found = self._variables[whole[1]]
            is_json = found is None or isinstance(found, (str, bool, int, float, list, dict))
            return found if is_json else _shown(found)
        return self.text(value) if isinstance(value, (str, Secret)) else value

    def hide_also(self, secret: str) -> None:
        """Hide one more text, also as addresses and JSON spell it: a service may send these back."""
        if secret:
            inside_json = (
                json.dumps(secret, ensure_ascii=is_ascii)[1:-1] for is_ascii in (False, True)
            )
            self._secrets |= {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
            self._secrets.update(inside_json)
            # A message may have lost a part of it already, because that part looks like a key.
            self._secrets.update({without_keys(secret)} - {HIDDEN})

    def without_secrets(self, value: Any) -> Any:
        """A text or JSON value without the secrets that were put into others."""
        if isinstance(value, str):
            for secret in sorted(self._secrets, key=len, reverse=True):
                value = value.replace(secret, HIDDEN)
            return value
        if isinstance(value, dict):
            return {
                self.without_secrets(key): self.without_secrets(inner)
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self.without_secrets(inner) for inner in value]
        return value


def names_in(value: Any) -> Iterator[str]:
    """The variables in a text or in the texts of a JSON value."""
    if isinstance(value, str):
        yield from _VARIABLE.findall(value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from names_in(key)
            yield from names_in(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from names_in(inner)


def _shown(value: Any) -> str:
    return "" if value is None else Value(value).text
