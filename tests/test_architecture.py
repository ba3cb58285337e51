"""The rooms: who imports whom, and how long a file may be. `docs/architecture.md` says what each room is for."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pykka
import pytest

ROOT = "tinker_actors"
PACKAGE = Path(__file__).parents[1] / ROOT
MODULES = {".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts): p for p in sorted(PACKAGE.rglob("*.py"))}
ROOMS = [
    {"errors", "loading", "secrets", "types", "version", "wording"}, {"config", "events"}, {"protocol"}, {"runtime"},
    {"net"}, {"actors"}, {"clients"},
]  # fmt: skip
RANK = {f"{ROOT}.{room}": rank for rank, rooms in enumerate(ROOMS) for room in rooms}
DOORS = len(ROOMS)  # __init__, __main__, testing, cli
LONGEST = 400

# The embedded server stands beside the ranks.
LOCAL = f"{ROOT}.local"
LOCAL_IMPORTS = (
    LOCAL, f"{ROOT}.types", f"{ROOT}.errors", f"{ROOT}.loading", f"{ROOT}.secrets", f"{ROOT}.wording",
    f"{ROOT}.protocol.codec",
)  # fmt: skip
LOCAL_IS_IMPORTED_BY = (
    LOCAL, f"{ROOT}.testing", f"{ROOT}.cli", f"{ROOT}.clients.local_door", f"{ROOT}.__init__",
)  # fmt: skip


def imports(module: str, source: str) -> Iterator[str]:
    """What of this package `source` imports when it runs: `a.b` for `from a import b`, but the root for its names."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if node in skipped:
            skipped.update(ast.iter_child_nodes(node))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(node.body)
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*above, *(node.module or "").split(".")]).strip(".")
            names = [base] if base == ROOT else [f"{base}.{alias.name}" for alias in node.names]
        yield from (name for name in names if within(name, (ROOT,)))


def within(name: str, rooms: tuple[str, ...]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def rank(name: str) -> int:
    return RANK.get(".".join(name.split(".")[:2]), DOORS)


def complaint(module: str, imported: str) -> str | None:
    """Why `module` must not import `imported`; None if it may."""
    if imported == ROOT:
        return None if module == f"{ROOT}.__init__" else "the package root"
    if within(imported, (LOCAL,)):
        return None if within(module, LOCAL_IS_IMPORTED_BY) else "the embedded server"
    if within(module, (LOCAL,)):
        return None if within(imported, LOCAL_IMPORTS) else "the client, from the embedded server"
    return "a higher rank" if rank(imported) > rank(module) else None


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_room_may(module: str):
    found = {name: complaint(module, name) for name in imports(module, MODULES[module].read_text())}
    assert not {name: why for name, why in found.items() if why}


def test_every_file_can_be_read_in_one_sitting():
    lengths = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    assert not {module: length for module, length in lengths.items() if length > LONGEST}


# Where the tests of a module are that has no file of its name, and why.
ELSEWHERE = {
    "actors.draining": ("simulation/test_endings.py", "needs all actors"),
    "actors.messages": ("actors", "records"),
    "actors.model.creation": ("simulation/test_schedules.py", "one message that the model's actor sends first"),
    "actors.model.origin": ("actors/model", "a record"),
    "actors.platform": ("actors/lane/test_keeper.py", "brings threads and sockets together; the keeper needs them"),
    "actors.service": ("actors/test_registry.py", "what the actors of a service share"),
    "actors.session.messages": ("actors/session/test_actor.py", "records"),
    "actors.story": ("simulation/test_story.py", "what a whole run logs"),
    "actors.supervisor": ("simulation/test_endings.py", "needs all actors"),
    "actors.lane.table": ("actors/lane/lane_bench.py", "what the parts of a lane share"),
    "actors.lane.work": ("actors/lane/lane_bench.py", "records, and who is told of their end"),
    "protocol.codec.protobuf.arrays": ("protocol/replies/test_protobuf_results.py", "read in messages only"),
    "protocol.codec.protobuf.descriptor": ("protocol/codec/protobuf/test_schema.py", "made from the schema"),
}
MIRRORED = tuple(f"{ROOT}.{room}" for room in ("actors", "net", "protocol"))
TESTS = Path(__file__).parent


def test_the_tests_of_a_module_are_where_one_looks_for_them():
    modules = {module.removeprefix(f"{ROOT}.") for module in MODULES if within(module, MIRRORED)}
    modules = {module for module in modules if not module.endswith("__init__")}
    missing = set()
    for module in modules:
        *rooms, name = module.split(".")
        if not TESTS.joinpath(*rooms, f"test_{name}.py").exists():
            missing.add(module)
    assert missing == ELSEWHERE.keys()
    assert not [path for path, _ in ELSEWHERE.values() if not (TESTS / path).exists()]


# One idea in several files: a sampling client makes copies of itself, and copies are sampling clients; a client makes
# its proxy, whose methods are the client's; a future makes futures of itself.
CIRCLES = [
    {f"{ROOT}.clients.{name}" for name in ("sampling", "sampling_proxy", "sampler_handle", "attachment")},
    {f"{ROOT}.clients.{name}" for name in ("policy", "policy_proxy")},
    {f"{ROOT}.clients.{name}" for name in ("service", "service_proxy")},
    {f"{ROOT}.clients.{name}" for name in ("training", "training_proxy")},
    {f"{ROOT}.runtime.{name}" for name in ("derived", "futures", "pykka_future")},
]


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """The groups of modules that import each other, through however many others."""
    reached: dict[str, set[str]] = {}
    for module, imported in graph.items():
        seen, ahead = set(), list(imported)
        while ahead:
            name = ahead.pop()
            if name not in seen:
                seen.add(name)
                ahead += graph.get(name, ())
        reached[module] = seen
    found: list[set[str]] = []
    for module, ahead_of_it in reached.items():
        group = {other for other in ahead_of_it if module in reached.get(other, ())}
        if group and group not in found:
            found.append(group)
    return found


def test_no_modules_import_each_other_in_a_circle():
    graph = {
        module: {imported if imported in MODULES else imported.rpartition(".")[0] for imported in imports(module, text)}
        for module, text in ((module, path.read_text()) for module, path in MODULES.items())
    }
    assert circles({module: imported - {ROOT} for module, imported in graph.items()}) == CIRCLES


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"d"}, "e": {"a"}}) == [{"a", "b", "c"}, {"d"}]


@pytest.mark.parametrize(
    ("module", "source", "why"),
    [
        ("types.tensors", "import tinker_actors.config", "a higher rank"),
        ("protocol.retry", "def f():\n    from tinker_actors.runtime.clock import Clock", "a higher rank"),
        ("protocol.retry", "from ..actors import lane", "a higher rank"),
        ("clients.service", "from tinker_actors.cli import main", "a higher rank"),
        ("actors.lane", "from tinker_actors import ServiceClient", "the package root"),
        ("actors.lane", "from .. import errors", "the package root"),
        ("actors.lane", "import tinker_actors", "the package root"),
        ("actors.lane", "from tinker_actors.local.process import f", "the embedded server"),
        ("local.app", "from tinker_actors.protocol.limits.retry import f", "the client, from the embedded server"),
        ("local.app", "from tinker_actors.protocol import codec", None),
        ("cli.demo", "from tinker_actors.local.process import LocalServer", None),
        ("actors.lane", "from tinker_actors.runtime.clock import Clock", None),
    ],
)
def test_the_rules_catch_what_they_are_for(module: str, source: str, why: str | None):
    module = f"{ROOT}.{module}"
    assert [complaint(module, name) for name in imports(module, source)] == [why]


def test_imports_for_type_checkers_do_not_count():
    source = "if TYPE_CHECKING:\n    from tinker_actors.cli import main\nelse:\n    import tinker_actors.errors"
    assert list(imports(f"{ROOT}.types.inputs", source)) == [f"{ROOT}.errors"]


# ---------------------------------------------------------------- imports in functions

# Nobody calls these in a signal handler; and a module that a running coroutine imports, its loop has imported.
NO_HANDLER_COMES = {
    f"{ROOT}.cli": "a program of its own",
    f"{ROOT}.local.__main__": "the server's process",
    f"{ROOT}.local.model_folders": "the server's process",
}
LOADED_BY_THE_LOOP = {"asyncio"}
# Where modules are imported by name: behind a `load` of that name, or for `load` itself.
BY_NAME = {f"{ROOT}.__init__", f"{ROOT}.types.__init__", f"{ROOT}.loading", f"{ROOT}.runtime.forks"}


def needed(node: ast.Import | ast.ImportFrom) -> set[str]:
    """The modules that an import loads."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    inside = {f"{node.module}.{alias.name}" for alias in node.names}
    modules = {name for name in inside if importlib.util.find_spec(name) is not None} if is_package(node) else set()
    return modules if modules == inside else {*modules, str(node.module)}


def is_package(node: ast.ImportFrom) -> bool:
    found = importlib.util.find_spec(str(node.module))
    return found is not None and found.submodule_search_locations is not None


def loaded_before(statement: ast.stmt) -> set[str]:
    """What `load(...)` names, where a statement is such a call."""
    if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)):
        return set()
    if ast.unparse(statement.value.func) not in ("load", "_load"):
        return set()
    return {argument.value for argument in statement.value.args if isinstance(argument, ast.Constant)}


def unsafe_imports(source: str) -> list[str]:
    """The modules that functions of a source import without `load` in the lines above."""
    found = []
    functions = (
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    for function in functions:
        for block in (getattr(node, field, None) for node in ast.walk(function) for field in node._fields):
            loaded: set[str] = set()
            for statement in block if isinstance(block, list) else ():
                if isinstance(statement, ast.Import | ast.ImportFrom):
                    found += needed(statement) - loaded - LOADED_BY_THE_LOOP
                elif isinstance(statement, ast.stmt):
                    loaded = loaded_before(statement)
    return found


def test_an_import_in_a_function_is_safe_from_signal_handlers():
    found = {
        module: unsafe_imports(path.read_text())
        for module, path in MODULES.items()
        if not within(module, tuple(NO_HANDLER_COMES))
    }
    assert not {module: names for module, names in found.items() if names}


def test_modules_are_imported_by_name_where_that_is_safe():
    assert {
        name for name, path in MODULES.items() if re.search(r"import_module|__import__", path.read_text())
    } == BY_NAME


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import html", []),
        ("def f():\n    import html", ["html"]),
        ("def f():\n    load('html')\n    import html", []),
        ("def f():\n    load('html')\n    print()\n    import html", ["html"]),
        ("def f():\n    if g:\n        from email.utils import a", ["email.utils"]),
        ("def f():\n    load('email')\n    from email import utils", ["email.utils"]),
        ("def f():\n    load('email.utils', 'html')\n    from email import utils\n    import html", []),
        ("def f():\n    from tinker_actors.loading import load", ["tinker_actors.loading"]),
        ("class A:\n    async def f(self):\n        import asyncio, html", ["html"]),
    ],
)
def test_unsafe_imports_are_found(source: str, found: list[str]):
    assert unsafe_imports(source) == found


# ---------------------------------------------------------------- pykka's private names

REPOSITORY = PACKAGE.parent
MAY_USE_PRIVATES = {REPOSITORY / ROOT / "runtime" / "pykka_internals.py", REPOSITORY / "tests" / "pykka_internals.py"}
OTHER_FILES = [
    path
    for folder in (ROOT, "tests", "benchmarks", "docs")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
    if path not in MAY_USE_PRIVATES
]
# Of what we subclass and hold. What is in pykka's own proxies, threads and registry has names that others have, too.
PRIVATE = {
    name
    for kind in (pykka.Actor, pykka.ActorRef, pykka.Future)
    for name in {*re.findall(r"\b(?:self\.|def )(_[a-z]\w*)", inspect.getsource(kind)), *vars(kind)}
    if name.startswith("_") and not name.startswith("__")
} - {"_abc_impl"} | {"_ActorStop"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def privates(source: str) -> list[str]:
    """The private names of pykka that a source uses: modules, names in modules, attributes, overridden methods."""
    found = []
    for node in ast.walk(ast.parse(source)):
        paths = []
        if isinstance(node, ast.Import):
            paths = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            paths = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            path = ast.unparse(node)
            found += [path] if node.attr in PRIVATE or (path.startswith("pykka.") and is_private(node.attr)) else []
        elif isinstance(node, ast.ClassDef):
            found += [f"{node.name}.{each.name}" for each in node.body if getattr(each, "name", None) in PRIVATE]
        found += [path for path in paths if path.split(".")[0] == "pykka" and any(map(is_private, path.split(".")))]
    return found


def test_what_is_private_in_pykka_is_used_in_one_file():
    found = {str(path.relative_to(REPOSITORY)): privates(path.read_text()) for path in OTHER_FILES}
    assert not {path: names for path, names in found.items() if names}


def test_no_class_of_ours_hides_a_private_name_of_pykka():
    """By accident, for whoever writes a method does not know them; a class body may also be made by other means."""
    for path in OTHER_FILES:
        if path.is_relative_to(PACKAGE) and path.stem != "__main__":
            importlib.import_module(".".join(path.relative_to(REPOSITORY).with_suffix("").parts))
    ours = [pykka.Actor, pykka.Future]
    for kind in ours:
        ours += kind.__subclasses__()
    mine = [kind for kind in ours if kind.__module__.startswith(ROOT) and not kind.__module__.endswith("_internals")]
    assert {"RuntimeActor", "Reply"} <= {kind.__name__ for kind in mine}
    assert not {kind: hidden for kind in mine if (hidden := PRIVATE & set(vars(kind)))}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from pykka._envelope import Envelope", ["pykka._envelope.Envelope"]),
        ("import pykka._ref", ["pykka._ref"]),
        ("from pykka.messages import ProxyCall, _ActorStop", ["pykka.messages._ActorStop"]),
        ("from pykka import messages\nmessages._ActorStop()", ["messages._ActorStop"]),
        ("ref._actor_weakref()", ["ref._actor_weakref"]),
        ("self._handle_receive(1)", ["self._handle_receive"]),
        ("class A(B):\n    def _stop(self): ...", ["A._stop"]),
        ("from pykka import Actor\nimport pykka\npykka.ActorRef\ndef _stop(): ...", []),
    ],
)
def test_private_names_of_pykka_are_recognised(source: str, found: list[str]):
    assert privates(source) == found
