"""The public surface: what a program gets by the package's doors, and what it is given by what it got.

Found by reading annotations: from the exported names to the classes that their public members take and return, and on
from there. The package's modules have no underscores, so that it is not said by their names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = "tinker_actors"
PACKAGE = Path(__file__).parents[2] / ROOT
DOORS = (ROOT, f"{ROOT}.types", f"{ROOT}.data", f"{ROOT}.events")
# What is made by a method of something else; its constructor is ours.
MADE_FOR_THE_USER = (f"{ROOT}.clients.", f"{ROOT}.runtime.", f"{ROOT}.local.")
MADE_BY_THE_USER = (f"{ROOT}.clients.service.ServiceClient",)
# Special methods with which a program does something else than to make, call, enter or iterate over an object.
_NOT_CALLED = ("__getattr__", "__dir__", "__reduce__", "__eq__", "__hash__", "__init_subclass__", "__set_name__")

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Assign | ast.AnnAssign
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


class Member(NamedTuple):
    """Something public that has a type.

    Attributes:
        name: full name, of the class it is defined in.
        annotations: what its types are said to be, in the source's words.
        module: where that was said.
        inward: whether it is a parameter's type only: what a program gives, and is not given.
    """

    name: str
    annotations: list[ast.expr]
    module: str
    inward: bool = False


class Module:
    """A module's definitions, and where its names come from."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.definitions: dict[str, Definition] = {}
        self.origins: dict[str, str] = {}
        self.exported: list[str] | None = None
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level:
                self.origins |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
        self._define(ast.parse(path.read_text()).body)

    def _define(self, body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                self.definitions.setdefault(node.name, node)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    if isinstance(target, ast.Name):
                        self.definitions.setdefault(target.id, node)
                        if target.id == "__all__" and isinstance(node.value, ast.List):
                            self.exported = [ast.literal_eval(each) for each in node.value.elts]
            elif isinstance(node, ast.If):  # TYPE_CHECKING
                self._define(node.body)

    def names(self) -> list[str]:
        """The names that it offers."""
        return self.exported or [name for name in self.definitions if not name.startswith("_")]


def modules() -> dict[str, Module]:
    """All modules of the package by name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path)
    return found


class Surface:
    """What can be reached.

    Attributes:
        members: everything public in it that has a type.
        names: the full names of its classes, functions and aliases.
    """

    def __init__(self) -> None:
        self._modules = modules()
        self.members: list[Member] = []
        self.names: set[str] = set()
        for door in DOORS:
            for name in self._modules[door].names():
                self._reach(self._home(f"{door}.{name}"))

    def _home(self, name: str) -> str:
        """Follow a name to where it is defined."""
        module, _, last = name.rpartition(".")
        known = self._modules.get(module)
        if known is None or last in known.definitions or known.origins.get(last, name) == name:
            return name
        return self._home(known.origins[last])

    def _reach(self, name: str) -> None:
        module, _, last = name.rpartition(".")
        known = self._modules.get(module)
        if known is None or name in self.names or last not in known.definitions:
            return
        self.names.add(name)
        for member in _members(name, known.definitions[last], module):
            self.members.append(member)
            for annotation in member.annotations:
                for each in _names(annotation):
                    self._reach(self._home(f"{module}.{each}"))


def is_made_for_the_user(name: str) -> bool:
    """Return whether a class's constructor is no part of the surface."""
    return name.startswith(MADE_FOR_THE_USER) and name not in MADE_BY_THE_USER


def _names(annotation: ast.expr) -> Iterator[str]:
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            yield node.value  # a quoted name


def _members(name: str, node: Definition, module: str) -> Iterator[Member]:
    if isinstance(node, ast.ClassDef):
        yield Member(name, list(node.bases), module)
        overloaded = {each.name for each in node.body if isinstance(each, _FUNCTION) and _is_overload(each)}
        for each in node.body:
            if isinstance(each, _FUNCTION) and each.name in overloaded and not _is_overload(each):
                continue  # checkers see what it is declared to be
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name) and _public(each.target.id):
                yield Member(f"{name}.{each.target.id}", [each.annotation], module)
            elif isinstance(each, _FUNCTION) and _public(each.name):
                if each.name != "__init__" or not is_made_for_the_user(name):
                    yield from _of_function(f"{name}.{each.name}", each, module)
                yield from _of_attributes(name, each, module)
    elif isinstance(node, _FUNCTION):
        yield from _of_function(name, node, module)
    elif isinstance(node, ast.AnnAssign):
        yield Member(name, [node.annotation], module)
    elif isinstance(node.value, ast.Subscript | ast.BinOp):  # an alias of types
        yield Member(name, [node.value], module)


def _is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(isinstance(each, ast.Name) and each.id == "overload" for each in node.decorator_list)


def _of_function(name: str, node: ast.FunctionDef | ast.AsyncFunctionDef, module: str) -> Iterator[Member]:
    arguments = node.args
    given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    annotations = [each.annotation for each in given if each is not None and each.annotation is not None]
    yield Member(name, annotations, module, inward=True)
    if node.returns is not None:
        yield Member(name, [node.returns], module)


def _of_attributes(name: str, node: ast.FunctionDef | ast.AsyncFunctionDef, module: str) -> Iterator[Member]:
    given = {each.arg: each.annotation for each in [*node.args.args, *node.args.kwonlyargs]}
    for each in ast.walk(node):
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Attribute) and _public(each.target.attr):
            yield Member(f"{name}.{each.target.attr}", [each.annotation], module)
        elif isinstance(each, ast.Assign) and isinstance(each.value, ast.Name):  # of a parameter's type
            annotation = given.get(each.value.id)
            for target in each.targets:
                if isinstance(target, ast.Attribute) and _public(target.attr) and annotation is not None:
                    yield Member(f"{name}.{target.attr}", [annotation], module)


def _public(name: str) -> bool:
    return not name.startswith("_") or (name.startswith("__") and name not in _NOT_CALLED)
