"""The rooms of the package: which may import which, and how large they may grow, so that each can be read alone."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from itertools import chain

from tests.paths import ROOT

PACKAGE = ROOT / "feel_steps"
FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in PACKAGE.rglob("*.py")
}
LOOP = "the loop"  # the modules at the package's root
SHARED = ("feel_steps", "feel_steps.errors")  # the version and the errors, which all may import


def imports(module: str) -> set[str]:
    """Modules of the package that a module imports anywhere, but for its types alone."""
    todo: list[ast.AST] = [ast.parse(FILES[module].read_text("utf-8"))]
    found = set()
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {name if name in FILES else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        todo += ast.iter_child_nodes(node)
    return found & FILES.keys() - {module, *SHARED}


def room(module: str) -> str:
    """Folder of a module, or the loop."""
    parts = FILES[module].relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else LOOP


IMPORTS = {module: imports(module) for module in FILES if module not in (*SHARED, "feel_steps.__main__")}
ROOMS: dict[str, set[str]] = {}
for _module, _imported in IMPORTS.items():
    ROOMS.setdefault(room(_module), set()).update({room(other) for other in _imported} - {room(_module)})


def circle(graph: dict[str, set[str]]) -> list[str]:
    """One circle of a graph; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_circles():
    assert circle(IMPORTS) == []
    assert circle(ROOMS) == []


def test_who_may_import_whom():
    assert ROOMS[LOOP] <= {"runtime", "tables", "localizers"}
    assert "features" not in ROOMS["dataset"]
    assert {name for name, others in ROOMS.items() if "report" in others} <= {"explore", "cli"}
    assert not {name for name, others in ROOMS.items() if "cli" in others}


def test_nothing_of_the_package_imports_what_stands_around_it():
    """A wheel has the package alone."""
    for file in FILES.values():
        nodes = ast.walk(ast.parse(file.read_text("utf-8")))
        names = chain.from_iterable(
            [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for node in nodes
            if isinstance(node, ast.Import | ast.ImportFrom)
        )
        assert not {(name or "").split(".")[0] for name in names} & {"studies", "benchmarks", "tests", "docs"}, file


def test_sizes():
    lengths = {module: len(file.read_text("utf-8").splitlines()) for module, file in FILES.items()}
    assert {module: length for module, length in lengths.items() if length > 450} == {}
    commands = {module: length for module, length in lengths.items() if module.startswith("feel_steps.cli")}
    assert {module: length for module, length in commands.items() if length >= 250} == {}
    entries = {entry.name for entry in PACKAGE.iterdir()} - {
        "__pycache__",
        "py.typed",
    }  # an empty marker for type checkers
    assert len(entries) <= 24
