"""Changes the constructor of one of Google's generated clients, for a while."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Self


class ClientRedirect:
    """Inside the `with` block, new clients get other arguments. Those that exist are left alone.

    Args:
        module: Where the client is defined. If it is not imported yet, the redirect waits for that.
        client: The name of its class.
        change: Gets the class, the positional and the named arguments of a new client, and gives the
            named arguments to use instead.
    """

    def __init__(
        self,
        module: str,
        client: str,
        change: Callable[[Any, tuple[Any, ...], dict[str, Any]], dict[str, Any]],
    ) -> None:
        self._module = module
        self._client = client
        self._change = change
        self._patched: list[tuple[Any, Any]] = []

    def __enter__(self) -> Self:
        module = sys.modules.get(self._module)
        if module is None:
            sys.meta_path.insert(0, self)
        else:
            self._patch(module)
        return self

    def __exit__(self, *_: object) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for cls, init in self._patched:
            cls.__init__ = init

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the client's module, and patch it as soon as it has been imported."""
        if name != self._module:
            return None
        spec = PathFinder.find_spec(name, path)
        loader: Any = None if spec is None else spec.loader
        if loader is not None:
            run = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                self._patch(module)

            loader.exec_module = exec_module
        return spec

    def _patch(self, module: ModuleType) -> None:
        client = getattr(module, self._client)
        original = client.__init__

        @functools.wraps(original)
        def init(this: Any, *args: Any, **options: Any) -> None:
            original(this, *args, **self._change(client, args, options))

        client.__init__ = init
        self._patched.append((client, original))
