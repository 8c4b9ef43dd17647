"""Users' files imported as modules; every failure is one sentence with file and line."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from etlkit.api.callers import calling_name, module_name
from etlkit.api.user_errors import user_error_text, user_line
from etlkit.errors import ConfigError, EtlkitError


def import_file(path: Path) -> ModuleType:
    """Run a Python file as a new module and keep it in `sys.modules`.

    Under the working directory the module has the dotted name of an import; elsewhere it is named
    after the file. A name that another module has gets a suffix, so that a script `json.py` does no
    harm.

    Raises:
        ConfigError: No such file, or it raises.
    """
    if not path.is_file():
        raise ConfigError(f"no file {path}")
    name = _module_name(path.resolve())
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        raise import_error(str(path), error) from error
    return module


def _module_name(path: Path) -> str:
    try:
        parts = path.relative_to(Path.cwd().resolve()).with_suffix("").parts
    except ValueError:
        parts = ()
    name = ".".join(parts) if parts and all(map(str.isidentifier, parts)) else path.stem
    taken = sys.modules.get(name)
    # A module of the standard library may be imported by this name later.
    if name in sys.stdlib_module_names or (taken is not None and _file(taken) != path):
        name = f"{name}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    return name


def _file(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return None if file is None else Path(file).resolve()


def own_name(job: object) -> str | None:
    """Name a job after the module that has it, as the command line does: `jobs.words`.

    A job that is not called `job` there is `jobs.words:other`. A job that no module has, such as one
    that a function made, is named after the module or script that calls etlkit.

    Returns:
        None = it was made at a prompt.
    """
    places = [
        (module, name)
        for module in list(sys.modules.values())
        if getattr(module, "__file__", None) is not None
        for name, value in list(vars(module).items())
        if value is job
    ]
    own = getattr(getattr(job, "transform", None), "__module__", None)
    made_in = getattr(job, "made_in", None)
    places.sort(  # others have imported it
        key=lambda place: (
            place[0].__name__ != own and place[0].__file__ != str(made_in),
            place[0].__name__ == "__main__",
        )
    )
    for module, name in places:
        if (found := module_name(vars(module))) is not None:
            return found if name == "job" else f"{found}:{name}"
    return calling_name()


def import_error(place: str, error: BaseException) -> ConfigError:
    """Make the error for a failed import: the reason, with the user's own line."""
    if isinstance(error, SyntaxError):
        reason = f"{type(error).__name__}: {error.msg} ({error.filename}:{error.lineno})"
    elif isinstance(error, EtlkitError):
        reason = f"{error} ({user_line(error)})"
    else:
        reason = user_error_text(error)
    return ConfigError(f"{place} cannot be imported: {reason}")
