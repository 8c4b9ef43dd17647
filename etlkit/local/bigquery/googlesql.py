"""GoogleSQL's own parser, analyzer and reference evaluator: the only module that imports `zetasql`.

`zetasql` is Google's C++ library behind BigQuery, compiled to WebAssembly. One instance serves the
process. It is made at the first call, from machine code in the user's cache folder.

    catalog = Catalog.of(Table.of("p.d.t", {"id": "INT64"}), project="p")
    analyze("SELECT id, 1 FROM d.t", catalog).columns    # id INT64, f0_ INT64
    analyze("SELECT idd FROM d.t", catalog)               # GoogleSqlError: Unrecognized name: idd; …

Why, and what it cannot do: docs/design/0020-googlesql.md.
"""

from __future__ import annotations

import atexit
import hashlib
import re
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from etlkit.errors import missing_packages
from etlkit.local.bigquery import catalog_protos, column_sources, resolved_trees, wire_trees
from etlkit.local.bigquery.analysis_cache import AnalysisCache
from etlkit.local.bigquery.column_sources import StatementSources
from etlkit.local.bigquery.generated_names import Renaming, mapped
from etlkit.local.bigquery.googlesql_features import (
    LACKING,
    LACKING_NAMESPACES,
    NOT_IN_BIGQUERY,
    ONLY_IN_BIGQUERY,
    REWRITES,
)
from etlkit.local.bigquery.resolved_trees import Analysis
from etlkit.local.bigquery.sql_catalog import Catalog, Table, TableFunction
from etlkit.local.bigquery.sql_catalog import Path as Names
from etlkit.local.bigquery.sql_names import scan
from etlkit.local.bigquery.sql_types import SqlType
from etlkit.local.bigquery.wasm_service import (
    CompiledModule,
    WasmError,
    WasmService,
    prepare_module,
)

__all__ = [
    "Analysis",
    "AnalyzerFailedError",
    "Catalog",
    "Engine",
    "GoogleSqlError",
    "Parameters",
    "ScriptStatement",
    "analyze",
    "analyze_expression",
    "analyzer_options",
    "builtin_catalog_id",
    "check_script",
    "engine",
    "is_installed",
    "parse_script",
    "prepare",
]

Parameters = Mapping[str, SqlType] | Sequence[SqlType] | None
"""Types of named or of positional query parameters; None = any parameter is taken, of any type."""


class GoogleSqlError(Exception):
    """GoogleSQL refuses a text.

    Attributes:
        message: BigQuery's sentence, without the position.
        line: From 1; 0 = no position.
        column: From 1, in characters; 0 = no position.
        missing: The table that does not exist, as the text names it; "" = another error.
    """

    def __init__(self, message: str, line: int = 0, column: int = 0, missing: str = "") -> None:
        self.message, self.line, self.column, self.missing = message, line, column, missing
        super().__init__(f"{message} [at {line}:{column}]" if line else message)


class AnalyzerFailedError(GoogleSqlError):
    """The analyzer itself failed, or lacks what the text uses: it says nothing about BigQuery."""


def analyze(sql: str, catalog: Catalog, parameters: Parameters = None) -> Analysis:
    """Parse and type-check one statement.

    Args:
        sql: One statement; it may end with a semicolon.
        catalog: What the statement may name.
        parameters: Types of its query parameters.

    Raises:
        GoogleSqlError: BigQuery would refuse it.
        ConfigError: The package is not installed.
    """
    return engine().analyze(sql, catalog, parameters)


def analyze_expression(sql: str, catalog: Catalog, parameters: Parameters = None) -> SqlType:
    """Parse and type-check one expression, e.g. the DEFAULT of a variable.

    Raises:
        GoogleSqlError: BigQuery would refuse it.
    """
    return engine().analyze(f"SELECT ({sql}\n)", catalog, parameters).columns[0][1]


@dataclass(frozen=True, slots=True)
class ScriptStatement:
    """A statement of a script.

    Attributes:
        kind: The parser's name for it, e.g. `query_statement`, `variable_declaration`, `if_statement`.
        text: The statement without the semicolon.
        start: Where it begins in the script, in characters.
        body: Statements within it, in order, e.g. of BEGIN … END, of IF with all its branches.
    """

    kind: str
    text: str
    start: int
    body: tuple[ScriptStatement, ...] = ()


def parse_script(sql: str) -> tuple[ScriptStatement, ...]:
    """Parse a text of any number of statements, with BigQuery's procedural language.

    Raises:
        GoogleSqlError: It is not GoogleSQL.
    """
    return engine().parse_script(sql)


def check_script(sql: str) -> None:
    """Parse a script. A text that differs from a known one in generated names only is not parsed again.

    Raises:
        GoogleSqlError: It is not GoogleSQL.
    """
    engine().check_script(sql)


def is_installed() -> bool:
    """Whether the package is there."""
    from importlib.util import find_spec

    return find_spec("zetasql") is not None


def prepare() -> None:
    """Compile the module if that was never done for this user, and say so: it takes a while.

    Called before a server starts, in the process whose output the user sees. With the cache it costs
    a look at a file.

    Raises:
        ConfigError: The package is not installed.
    """
    path, label = _module()
    prepare_module(path, label, _say)


_lock = threading.Lock()
_engine: Engine | None = None


def engine() -> Engine:
    """The process's engine; the first call makes it."""
    global _engine  # noqa: PLW0603 - one instance serves the process
    if _engine is None:
        with _lock:
            if _engine is None:
                made = Engine(_say)
                # wasmtime's objects cannot be freed any more when the interpreter has gone.
                atexit.register(made.close)
                _engine = made
    return _engine


def _say(sentence: str) -> None:
    print(f"etlkit: {sentence}", file=sys.stderr, flush=True)  # noqa: T201 - before any logging


def _version(label: str) -> str:
    """A text that changes with the package, and with our modules that decide about results."""
    folder = Path(__file__).parent
    digest = hashlib.sha256(label.encode())
    for name in _DECISIVE:
        digest.update((folder / f"{name}.py").read_bytes())
    return digest.hexdigest()[:16]


def _module() -> tuple[Path, str]:
    """The file of the module, and what its cached code is called."""
    try:
        from zetasql.wasi import get_wasm_path
    except ImportError as error:
        raise missing_packages("GoogleSQL's analyzer is not installed", "local") from error
    from importlib.metadata import version

    return Path(get_wasm_path()), f"zetasql-{version('zetasql')}"


_POSITION: Final = re.compile(r"\s*\[at (\d+):(\d+)\]\s*$")
_ERROR: Final = re.compile(r"Code: (\d+), Message: (.*)", re.DOTALL)
_MISSING: Final = re.compile(r"Table not found: ([^;]+)")
_COUNTED: Final = re.compile(r"(\d+) arguments?")
_NO_FUNCTION: Final = re.compile(r"(?:Table-valued function|Function) not found: ([\w.`]+)")
_OWN_FAULTS: Final = frozenset({2, 12, 13})
"""UNKNOWN, UNIMPLEMENTED and INTERNAL of absl::StatusCode: faults of the analyzer."""

_DECISIVE: Final = (
    *("analysis_cache", "catalog_protos", "generated_names", "googlesql", "googlesql_features"),
    *("resolved_trees", "sql_catalog", "sql_names", "sql_types", "wire_trees"),
)
_SCRIPT: Final = "SCRIPT"
_MAX_CATALOGS: Final = 64
_MAX_RESULTS: Final = 10_000


class Engine:
    """The analyzer, its options, and the catalogs that it has seen.

    Args:
        say: Gets one sentence when the module has to be compiled, which takes a while.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        path, self._label = _module()
        self._start: Callable[[], WasmService] = lambda: WasmService(
            CompiledModule(path, self._label, say), {"/usr/share/zoneinfo": _zones()}
        )
        self._lock = threading.Lock()
        self._analyzing = threading.Lock()
        self._started: WasmService | None = None
        self._cache = AnalysisCache(_version(self._label))
        self._catalogs: dict[str, tuple[int, int]] = {}
        self._builtin = (0, 0)
        self._results: dict[tuple[str, str, str], Analysis] = {}

    @property
    def _wasm(self) -> WasmService:
        """The instance of the module; the first call that needs it makes it."""
        with self._lock:
            if self._started is None:
                self._started = self._start()
            return self._started

    @property
    def language(self) -> Any:
        """The features that BigQuery documents, as a `LanguageOptionsProto`."""
        return _language()

    def close(self) -> None:
        """Free the module; the engine cannot be used afterwards."""
        self._cache.close()
        with self._lock:
            if self._started is not None:
                self._started.close()

    def call(self, name: str, request: Any, answer: type[Any]) -> Any:
        """Call a method of ZetaSQL's local service.

        Raises:
            GoogleSqlError: It refuses the request.
        """
        return answer.FromString(self._answer(name, request))

    def _answer(self, name: str, request: Any) -> bytes:
        try:
            return self._wasm.call(f"ZetaSqlLocalService_{name}", request.SerializeToString())
        except WasmError as error:
            raise _as_error(str(error)) from error

    def service(self) -> Any:
        """A `ZetaSqlLocalService` of the package over this engine, e.g. for its PreparedQuery."""
        from zetasql.core.local_service import ZetaSqlLocalService
        from zetasql.core.wasm_client import WasmClient

        own = self._wasm

        class Client(WasmClient):  # type: ignore[misc] # the package has no types
            """The package's client without its own instance of the module."""

            def __init__(self) -> None:
                pass

            def _call_grpc_method(self, method_name: str, request_data: bytes) -> bytes:
                from zetasql.core.exceptions import ServerError

                try:
                    return own.call(method_name, request_data)
                except WasmError as error:
                    raise ServerError.from_error_string(str(error)) from error

        service = ZetaSqlLocalService.__new__(ZetaSqlLocalService)
        service.wasm_client = Client()
        ZetaSqlLocalService._instance = service  # noqa: SLF001 - its classes ask for it there
        return service

    def parse_script(self, sql: str) -> tuple[ScriptStatement, ...]:
        """See `parse_script`."""
        from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service

        request = service.ParseRequest(sql_statement=sql, options=_language(), allow_script=True)
        response = self.call("Parse", request, service.ParseResponse)
        return _statements(response.parsed_script.statement_list_node, sql.encode())

    def analyze(self, sql: str, catalog: Catalog, parameters: Parameters) -> Analysis:
        """See `analyze`."""
        sql, functions = _without_models(sql, catalog)
        names = scan(sql)
        named = catalog_protos.NamedThings.of(catalog, names)
        named.table_functions += functions
        given = _parameter_key(parameters, catalog)
        renaming = Renaming()
        key = (renaming.text(names), renaming.hide(named.signature), given)
        known = self._results.get(key) or self._cache.get(key)
        if known is None:
            try:
                hidden: Any = mapped(named, renaming.hide)
                with self._analyzing:
                    known = self._analyze(key[0], hidden, catalog, parameters)
            except GoogleSqlError:
                # With the statement's own names and positions.
                return self._refused(sql, named, catalog, parameters)
            self._cache.put(key, known)
        self._remember(key, known)
        shown: Analysis = mapped(known, renaming.show)
        return shown

    def column_sources(
        self, sql: str, catalog: Catalog, parameters: Parameters
    ) -> StatementSources:
        """See `etlkit.local.bigquery.column_sources.read`. Nothing is remembered of it.

        Raises:
            GoogleSqlError: The statement is refused.
        """
        sql, functions = _without_models(sql, catalog)
        named = catalog_protos.NamedThings.of(catalog, scan(sql))
        named.table_functions += functions
        with self._analyzing:
            return column_sources.read(*self._tree(sql, named, catalog, parameters))

    def check_script(self, sql: str) -> None:
        """See `check_script`."""
        key = (Renaming().text(scan(sql)), "", _SCRIPT)
        if key in self._results or self._cache.get(key) is not None:
            return
        self.parse_script(sql)
        self._cache.put(key, Analysis(_SCRIPT))
        self._remember(key, Analysis(_SCRIPT))

    def _remember(self, key: tuple[str, str, str], known: Analysis) -> None:
        if len(self._results) >= _MAX_RESULTS:
            self._results.clear()
        self._results[key] = known

    def _refused(
        self,
        sql: str,
        named: catalog_protos.NamedThings,
        catalog: Catalog,
        parameters: Parameters,
    ) -> Analysis:
        try:
            with self._analyzing:
                return self._analyze(sql, named, catalog, parameters)
        except GoogleSqlError as error:
            for path, function in (*named.functions, *named.table_functions):
                takes_model = getattr(function, "takes_model", False)
                error.message = _with_path(error.message, path, takes_model=takes_model)
            raise

    def _analyze(
        self,
        sql: str,
        named: catalog_protos.NamedThings,
        catalog: Catalog,
        parameters: Parameters,
    ) -> Analysis:
        return resolved_trees.read(*self._tree(sql, named, catalog, parameters))

    def _tree(
        self,
        sql: str,
        named: catalog_protos.NamedThings,
        catalog: Catalog,
        parameters: Parameters,
    ) -> tuple[bytes, type[Any], list[Table]]:
        """The resolved statement, its class, and the tables that it names."""
        from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service

        if parameters is None and scan(sql).has_positional:
            options = catalog_protos.options(_language(), catalog, (), _protos())
            options.allow_undeclared_parameters = True
        else:
            options = catalog_protos.options(_language(), catalog, parameters, _protos())
        request = service.AnalyzeRequest(
            options=options, sql_statement=sql, registered_catalog_id=self._catalog(named)
        )
        response = self._answer("Analyze", request)
        # Field 1 is the statement, which may be too deep for the protobuf library.
        statement = bytes(dict(wire_trees.fields(memoryview(response)))[1])
        kind = service.AnalyzeResponse.DESCRIPTOR.fields_by_name["resolved_statement"].message_type
        tables = [table for _, table in named.tables]
        return statement, kind._concrete_class, tables  # noqa: SLF001

    def register(self, named: catalog_protos.NamedThings) -> int:
        """Make a catalog that requests name by its number."""
        from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service

        described = named.catalog_proto(_language(), _protos())
        request = service.RegisterCatalogRequest(simple_catalog=described)
        request.descriptor_pool_list.definitions.add().builtin.SetInParent()
        answer = self.call("RegisterCatalog", request, service.RegisterResponse)
        return int(answer.registered_id)

    def builtin_catalog_id(self) -> int:
        """See `builtin_catalog_id`. The module forgets its catalogs when it has to be started anew."""
        number, generation = self._builtin
        if generation != self._wasm.generation:
            number = self.register(catalog_protos.NamedThings())
            self._builtin = (number, self._wasm.generation)
        return number

    def _catalog(self, named: catalog_protos.NamedThings) -> int:
        """The number of a registered catalog; making its functions is the dear part."""
        from google.protobuf import empty_pb2
        from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service

        signature = named.signature
        number, generation = self._catalogs.pop(signature, (0, 0))
        if generation != self._wasm.generation:
            number, generation = self.register(named), self._wasm.generation
        self._catalogs[signature] = (number, generation)
        if len(self._catalogs) > _MAX_CATALOGS:
            oldest, (dropped, made) = next(iter(self._catalogs.items()))
            del self._catalogs[oldest]
            if made == self._wasm.generation:
                dismissal = service.UnregisterRequest(registered_id=dropped)
                self.call("UnregisterCatalog", dismissal, empty_pb2.Empty)
        return number


def _parameter_key(parameters: Parameters, catalog: Catalog) -> str:
    system = [(name, kind.text) for name, kind in catalog.system_variables.items()]
    if parameters is None:
        return f"{system}"
    if isinstance(parameters, Mapping):
        return f"{system}{[(name.lower(), kind.text) for name, kind in parameters.items()]}"
    return f"{system}{[kind.text for kind in parameters]}?"


def _without_models(
    sql: str, catalog: Catalog
) -> tuple[str, tuple[tuple[Names, TableFunction], ...]]:
    """The text with the models of its calls left out, each position as it was, and the functions.

    What such a function returns depends on its model, which GoogleSQL's table-valued functions cannot
    say. So the call becomes one of a function for this model alone.
    """
    functions: dict[Names, TableFunction] = {}
    for number, call in enumerate(scan(sql).model_calls):
        model = catalog.find_model(call.model)
        if model is None:
            name = ".".join(call.model)
            raise GoogleSqlError(f"Model not found: {name}", missing=name)
        function = catalog.find_model_function(call.function, model)
        if function is None:
            continue
        start, end = call.argument
        sql = f"{sql[:start]}{' ' * (end - start)}{sql[end:]}"
        path = call.function
        if functions.setdefault(path, function) != function:  # a name of the same length
            last = f"{path[-1][: -len(str(number))]}{number}"
            path = (*path[:-1], last)
            sql = f"{sql[: call.name[1] - len(last)]}{last}{sql[call.name[1] :]}"
            functions[path] = function
    return sql, tuple(functions.items())


def _with_path(message: str, path: Names, *, takes_model: bool) -> str:
    """A message about the arguments of a function with its whole name, and its model among them."""
    name = ".".join(path)
    if not re.match(rf"No matching signature for (function )?{re.escape(name)}\b", message):
        return message
    message = message.replace(f"Signature: {path[-1]}(", f"Signature: {name}(")
    if not takes_model:
        return message
    message = message.replace("Argument types: ", "Argument types: MODEL, ")
    message = message.replace(f"Signature: {name}(", f"Signature: {name}(MODEL, ")
    return _COUNTED.sub(lambda match: f"{int(match[1]) + 1} arguments", message)


def _zones() -> Path:
    try:
        import tzdata
    except ImportError:
        return Path("/usr/share/zoneinfo")
    return Path(tzdata.__file__).parent / "zoneinfo"


@lru_cache(maxsize=1)
def _language() -> Any:
    """The features, statements and types that BigQuery documents."""
    from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service
    from zetasql.wasi._pb2.zetasql.proto import options_pb2
    from zetasql.wasi._pb2.zetasql.public import options_pb2 as public

    request = service.LanguageOptionsRequest(maximum_features=True)
    language = engine().call("GetLanguageOptions", request, options_pb2.LanguageOptionsProto)
    names = {public.LanguageFeature.Name(number) for number in language.enabled_language_features}
    names -= {f"FEATURE_{name}" for name in NOT_IN_BIGQUERY}
    names |= {f"FEATURE_{name}" for name in ONLY_IN_BIGQUERY}
    del language.enabled_language_features[:]
    language.enabled_language_features.extend(
        sorted(public.LanguageFeature.Value(name) for name in names)
    )
    language.product_mode = public.PRODUCT_EXTERNAL
    # Empty = every statement.
    del language.supported_statement_kinds[:]
    return language


@lru_cache(maxsize=1)
def _protos() -> catalog_protos.Protos:
    from zetasql.wasi._pb2.zetasql.proto import options_pb2, simple_catalog_pb2
    from zetasql.wasi._pb2.zetasql.public import function_pb2 as public_function
    from zetasql.wasi._pb2.zetasql.public import options_pb2 as public
    from zetasql.wasi._pb2.zetasql.public import type_pb2, value_pb2

    return catalog_protos.Protos(
        catalog=simple_catalog_pb2.SimpleCatalogProto,
        options=options_pb2.AnalyzerOptionsProto,
        type=type_pb2.TypeProto,
        kinds=type_pb2.TypeKind,
        argument_kinds=public_function.SignatureArgumentKind,
        function_enums=public_function.FunctionEnums,
        modes=dict(public.ParameterMode.items()),
        value=value_pb2.ValueProto,
    )


def analyzer_options() -> Any:
    """`AnalyzerOptionsProto` with BigQuery's features, UTC and rewrites, for the evaluator."""
    from zetasql.wasi._pb2.zetasql.proto import options_pb2
    from zetasql.wasi._pb2.zetasql.public import options_pb2 as public

    options = options_pb2.AnalyzerOptionsProto(default_timezone="UTC")
    options.language_options.CopyFrom(_language())
    options.error_message_mode = public.ERROR_MESSAGE_ONE_LINE
    options.enabled_rewrites.extend(public.ResolvedASTRewrite.Value(name) for name in REWRITES)
    return options


def builtin_catalog_id() -> int:
    """The number of a registered catalog with BigQuery's functions and no table, for the evaluator."""
    return engine().builtin_catalog_id()


def _as_error(text: str) -> GoogleSqlError:
    match = _ERROR.match(text)
    code, message = (int(match[1]), match[2]) if match else (2, text)
    position = _POSITION.search(message)
    line, column = (int(position[1]), int(position[2])) if position else (0, 0)
    message = _POSITION.sub("", message)
    is_own_fault = code in _OWN_FAULTS or _is_lacking(message)
    kind = AnalyzerFailedError if is_own_fault else GoogleSqlError
    missing = _MISSING.match(message)
    return kind(message, line, column, missing[1].strip() if missing else "")


def _is_lacking(message: str) -> bool:
    """Whether a function of BigQuery was not found that the analyzer does not have."""
    match = _NO_FUNCTION.match(message)
    if match is None:
        return False
    name = match[1].replace("`", "").upper()
    return name in LACKING or name.partition(".")[0] in LACKING_NAMESPACES


def _statements(listed: Any, text: bytes) -> tuple[ScriptStatement, ...]:
    return tuple(_statement(node, text) for node in listed.statement_list)


def _statement(node: Any, text: bytes) -> ScriptStatement:
    """One statement; the tree wraps it in a message for each of its classes."""
    kind, inner = "", node
    while True:
        chosen = inner.WhichOneof("node") if "node" in inner.DESCRIPTOR.oneofs_by_name else None
        if chosen is None:
            break
        kind, inner = chosen, getattr(inner, chosen)
    location = _location(inner)
    start, end = location.start, location.end
    source = text[start:end].decode()
    body = tuple(_within(inner, text))
    name = kind.removeprefix("ast_").removesuffix("_node")
    return ScriptStatement(name, source, len(text[:start].decode()), body)


def _location(node: Any) -> Any:
    while not hasattr(node, "parse_location_range"):
        node = node.parent
    return node.parse_location_range


def _within(node: Any, text: bytes) -> Any:
    """The statements in the lists of a statement, however deep they are."""
    for kind, value in node.ListFields():
        if kind.message_type is None:
            continue
        for each in (value,) if hasattr(value, "ListFields") else value:
            if each.DESCRIPTOR.name == "ASTStatementListProto":
                yield from _statements(each, text)
            else:
                yield from _within(each, text)
