"""The values of variables: from a loop, from the caller, or from their definitions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import InvalidOperation
from typing import Any, get_args

from etlkit.errors import ConfigError
from etlkit.variables.definitions import (
    Plain,
    String,
    Timestamp,
    TimestampRuntime,
    Value,
    VariableDefinition,
)

_NANOSECONDS = re.compile(r"[.,][0-9]{6}[0-9]*[1-9]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def resolve(
    definitions: Mapping[str, VariableDefinition],
    *,
    given: Mapping[str, Any] | None = None,
    loop: Mapping[str, Any] | None = None,
    queued_at: datetime,
    started_at: datetime,
    inherited: Mapping[str, Value] | None = None,
) -> dict[str, Value]:
    """Give every variable its value.

    It is the loop's, else the one given, else the one inherited, else by its definition.

    Args:
        definitions: Name to definition; names may be written with their dollar signs.
        given: Values given for this run. Text takes the type of the definition.
        loop: Values of one iteration of a loop.
        queued_at: Time from which `Timestamp` variables count.
        started_at: Time from which `TimestampRuntime` variables count.
        inherited: Values of the workflow that runs the job, by bare name. They need no definition of
            the job; text takes the type of one.

    Raises:
        ConfigError: A bad name, a value for an unknown variable or of another type.
    """
    known = check_definitions(definitions)
    chosen = {**_named(given or {}), **_named(loop or {})}
    refuse_unknown(chosen, known)
    values = dict(inherited or {})
    for name, definition in known.items():
        if name in chosen:
            values[name] = _given(name, definition, chosen[name])
        elif name in values:
            values[name] = _given(name, definition, values[name].value)
        elif isinstance(definition, Timestamp):
            at_start = isinstance(definition, TimestampRuntime)
            text = definition.expand(started_at if at_start else queued_at)
            values[name] = Value(text, definition.text)
        elif isinstance(definition, String):
            values[name] = Value(definition.value, definition.text)
        else:
            values[name] = Value(definition)
    for name, value in values.items():
        _refuse_half_characters(name, value)
    return values


def _refuse_half_characters(name: str, value: Value) -> None:
    """Refuse text that no request can carry; the command line makes it of bytes that are no UTF-8."""
    try:
        value.text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"${name}$ has half a character in it (a lone surrogate), which is no text"
        ) from error


def check_definitions(definitions: Mapping[str, Any]) -> dict[str, VariableDefinition]:
    """Definitions by their bare names.

    Raises:
        ConfigError: A name or a definition is invalid.
    """
    known = _named(definitions)
    for name, definition in known.items():
        if not isinstance(definition, (String, Timestamp, *get_args(Plain))):
            raise ConfigError(
                f"variable ${name}$ is a {type(definition).__name__}; it is a String(…), a "
                "Timestamp(…), a TimestampRuntime(…) or a plain str, int, float, bool, Decimal, "
                "date or datetime"
            )
    return known


def refuse_unknown(names: Iterable[str], known: Iterable[str]) -> None:
    """Raise for names without a definition.

    Raises:
        ConfigError: Lists the known names.
    """
    unknown = sorted(set(names) - set(known))
    if unknown:
        there = ", ".join(f"${name}$" for name in sorted(known))
        raise ConfigError(
            f"unknown variable {', '.join(f'${name}$' for name in unknown)}; "
            + (f"the job has {there}" if there else "the job has none: give variables={…} or --var")
        )


def refuse_unused(known: Iterable[str], used: Iterable[str]) -> None:
    """Raise for variables that are not used: a value that is silently ignored is a mistake.

    Raises:
        ConfigError: Lists the used names.
    """
    unused = sorted(set(known) - set(used))
    if unused:
        there = ", ".join(f"${name}$" for name in sorted(used)) or "none"
        raise ConfigError(
            f"variable {', '.join(f'${name}$' for name in unused)} is not used anywhere; used: {there}"
        )


def loop_values(variables: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The iterations of a loop: the first values of all variables, then the second ones, and so on.

    Raises:
        ConfigError: They have different numbers of values.
    """
    named = _named(variables)
    if len({len(values) for values in named.values()}) > 1:
        counts = ", ".join(f"${name}$ has {len(values)}" for name, values in named.items())
        raise ConfigError(f"a loop needs the same number of values for each variable; {counts}")
    return [dict(zip(named, turn, strict=True)) for turn in zip(*named.values(), strict=True)]


def parse_assignments(texts: Iterable[str]) -> dict[str, str]:
    """Read `name=value` as the command line writes it.

    Raises:
        ConfigError: No `=`, or a name twice.
    """
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--var {text!r}: write name=value")
        bare = bare_name(name)
        if bare in values:
            raise ConfigError(f"--var {bare} is given twice")
        values[bare] = value
    return values


def parse_time(text: str | None) -> datetime | None:
    """Read a time as the command line writes it; without a zone it is in UTC.

    Raises:
        ConfigError: It is not an ISO 8601 time.
    """
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--queued-at {text!r}: write e.g. 2024-01-31T09:00:00+09:00") from error
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _given(name: str, definition: VariableDefinition, given: Any) -> Value:
    """A value given by the caller, in the type of the definition."""
    as_text = isinstance(definition, (String, Timestamp)) and definition.text
    if isinstance(definition, Timestamp):
        return Value(_formatted(name, definition, given), as_text)
    if isinstance(definition, (String, str)):
        return Value(given if isinstance(given, str) else Value(given).text, as_text)
    kind = type(definition)
    if type(given) is kind:
        return Value(given)
    try:
        return Value(_parse(kind, str(given)))
    except (ValueError, InvalidOperation) as error:
        raise ConfigError(f"${name}$ is a {kind.__name__}; {given!r} is not") from error


def _formatted(name: str, definition: Timestamp, given: Any) -> str:
    if isinstance(given, date):
        return given.strftime(definition.format)
    try:
        datetime.strptime(str(given), definition.format)  # noqa: DTZ007 - only checks the format
    except ValueError as error:
        raise ConfigError(
            f"${name}$ is a time written as {definition.format!r}; {given!r} is not"
        ) from error
    return str(given)


def _parse(kind: type[Any], text: str) -> Plain:
    if kind is bool:
        return {"true": True, "false": False}[text.lower()] if text.lower() in _BOOLS else _no(text)
    if issubclass(kind, date):
        if _NANOSECONDS.search(text):  # Python would cut them
            raise ValueError(text)
        parsed: Plain = kind.fromisoformat(text)
        return parsed
    value: Plain = kind(text)
    return value


_BOOLS = {"true", "false"}


def _no(text: str) -> Plain:
    raise ValueError(text)


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    named = {bare_name(name): value for name, value in values.items()}
    if len({name.casefold() for name in named}) < len(values):
        raise ConfigError(f"names of variables must differ in more than case: {', '.join(values)}")
    return named


def bare_name(name: str) -> str:
    """A variable's name without its dollar signs.

    Raises:
        ConfigError: It cannot be a name.
    """
    if not isinstance(name, str):
        raise ConfigError(f"{name!r} cannot be the name of a variable: give a str")
    bare = name[1:-1] if len(name) > 2 and name[0] == name[-1] == "$" else name
    if _NAME.fullmatch(bare) is None:
        raise ConfigError(
            f"variable {name!r}: a name has letters, digits and _, and no digit first"
        )
    return bare
