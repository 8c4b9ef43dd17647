"""A WebAssembly module that serves protobuf requests, compiled once for all processes of a user.

wasmtime compiles the module to machine code, which takes many seconds of processor time. The code is
kept in the user's cache folder, and later processes map it into memory in milliseconds.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

from etlkit.errors import ConfigError

_SIZE_BYTES: Final = 4
_STACK_BYTES: Final = 2 * 1024 * 1024
"""The most that wasmtime takes without settings of its asynchronous API; it is used on the caller's
stack, which has 8 MB. A sum of 500 terms fits."""


class WasmError(Exception):
    """The module refused a request; its text is the module's own."""


def cache_folder() -> Path:
    """The folder for files of this user that can be made again.

    https://specifications.freedesktop.org/basedir-spec/latest/
    """
    own = os.environ.get("XDG_CACHE_HOME", "")
    if Path(own).is_absolute():
        return Path(own) / "etlkit"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "etlkit"
    local = os.environ.get("LOCALAPPDATA")
    if sys.platform == "win32" and local:
        return Path(local) / "etlkit" / "Cache"
    return Path.home() / ".cache" / "etlkit"


def prepare_module(path: Path, label: str, say: Callable[[str], None]) -> None:
    """Compile a module now, if its code is not in the cache. The arguments are `CompiledModule`'s.

    Python sees Ctrl-C only between two calls, and this is one long one: it runs on another thread.
    """
    if (cache_folder() / f"{_code_name(path, label)}.cwasm").is_file():
        return
    done: Future[None] = Future()

    def compile_it() -> None:
        try:
            CompiledModule(path, label, say).close()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=compile_it, name="etlkit-compile", daemon=True).start()
    done.result()


def _code_name(path: Path, label: str) -> str:
    from importlib.metadata import version

    # The code fits one version of wasmtime and one kind of processor; wasmtime checks both again.
    parts = (version("wasmtime"), platform.machine(), path.stat().st_size, _cpu(), _STACK_BYTES)
    return f"{label}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"


class CompiledModule:
    """The machine code of a module.

    Args:
        path: The `.wasm` file.
        label: What the cached file is called, with all versions that the code depends on.
        say: Gets one sentence before the code is compiled.
    """

    def __init__(self, path: Path, label: str, say: Callable[[str], None]) -> None:
        import wasmtime

        config = wasmtime.Config()
        config.shared_memory = True
        config.max_wasm_stack = _STACK_BYTES
        self.engine: Any = wasmtime.Engine(config)
        self._path, self._say = path, say
        self._name = _code_name(path, label)
        self.module: Any = self._load()

    def _load(self) -> Any:
        from filelock import FileLock

        try:
            folder = cache_folder()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            target = folder / f"{self._name}.cwasm"
            found = self._cached(target)
            if found is not None:
                return found
            with FileLock(folder / f"{self._name}.lock", mode=0o600):
                return self._cached(target) or self._compiled(target)
        except (OSError, RuntimeError):  # no home, or a folder that cannot be written
            return self._compiled(None)

    def close(self) -> None:
        """Free the code."""
        self.module.close()
        self.engine.close()

    def _cached(self, target: Path) -> Any | None:
        import wasmtime

        # Machine code from a file that another user may write would run as this user.
        if not target.is_file() or not is_own(target):
            return None
        try:
            return wasmtime.Module.deserialize_file(self.engine, str(target))
        except wasmtime.WasmtimeError:
            return None

    def _compiled(self, target: Path | None) -> Any:
        import wasmtime

        where = "" if target is None else f"; the result is kept in {target.parent}"
        self._say(f"compiling GoogleSQL's analyzer once, about 25 s of processor time{where}")
        module = wasmtime.Module.from_file(self.engine, str(self._path))
        if target is not None:
            handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(module.serialize())
                Path(name).replace(target)
            except OSError:  # no space: this process has its module
                Path(name).unlink(missing_ok=True)
        return module


def _cpu() -> str:
    """What tells processors apart whose machine code may differ, e.g. in a home folder on a network."""
    return platform.processor() or platform.machine()


def is_own(path: Path) -> bool:
    """Whether nobody but this user may write a file."""
    if not hasattr(os, "getuid"):
        return True
    status = path.stat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


class WasmService:
    """One instance of a module: memory of its own, one call at a time.

    A trap (e.g. its stack is used up by a deeply nested text) leaves an instance in an unknown state:
    the next call gets a new one.
    """

    def __init__(self, compiled: CompiledModule, folders: dict[str, Path]) -> None:
        self._compiled, self._folders = compiled, folders
        self._lock = threading.RLock()
        self._store: Any = None
        self.generation: int = 0
        self._start()

    def _start(self) -> None:
        import wasmtime

        settings = wasmtime.WasiConfig()
        for inside, outside in self._folders.items():
            settings.preopen_dir(str(outside), inside, fs_mutable=False)
        store = wasmtime.Store(self._compiled.engine)
        store.set_wasi(settings)
        linker = wasmtime.Linker(self._compiled.engine)
        linker.define_wasi()
        exports = linker.instantiate(store, self._compiled.module).exports(store)
        initialize: Any = exports.get("_initialize")
        if initialize is not None:
            initialize(store)
        self._functions: dict[str, Any] = dict(exports)
        self._memory: Any = self._functions["memory"]
        self._store = store
        self.generation += 1

    def close(self) -> None:
        """Free the instance and the module."""
        with self._lock:
            self._functions = {}
            self._memory.close()
            self._store.close()
            self._compiled.close()

    def call(self, function: str, request: bytes) -> bytes:
        """Call a function of the module.

        Raises:
            WasmError: The module refused the request.
            ConfigError: The module has no such function.
        """
        import wasmtime

        method = self._functions.get(function)
        if method is None:
            raise ConfigError(f"the WebAssembly module has no function {function}")
        with self._lock:
            try:
                return self._call(method, request)
            except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
                self._start()
                raise WasmError(f"Code: 13, Message: {str(error).splitlines()[0]}") from error

    def _call(self, method: Any, request: bytes) -> bytes:
        store, functions = self._store, self._functions
        pointer = functions["wasm_malloc"](store, max(1, len(request)))
        size_pointer = functions["wasm_malloc"](store, _SIZE_BYTES)
        ctypes.memmove(self._address(pointer), request, len(request))
        answer = method(store, pointer, len(request), size_pointer)
        try:
            if not answer:
                size = functions["wasm_get_last_error_size"](store)
                text = self._read(functions["wasm_get_last_error"](store), size) if size else b""
                raise WasmError(text.decode("utf-8", "replace"))
            size = int.from_bytes(self._read(size_pointer, _SIZE_BYTES), "little")
            response = self._read(answer, size)
            functions["wasm_free"](store, answer)
            return response
        finally:
            functions["wasm_free"](store, pointer)
            functions["wasm_free"](store, size_pointer)

    def _address(self, pointer: int) -> int:
        # It is a shared memory, which never moves when it grows, but a new instance has another one.
        return ctypes.addressof(self._memory.data_ptr().contents) + (pointer & 0xFFFFFFFF)

    def _read(self, pointer: int, size: int) -> bytes:
        return ctypes.string_at(self._address(pointer), size)
