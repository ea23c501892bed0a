"""The source code that a step runs: a digest of every module of this package that its command can reach.

One definition for all who ask: Snakemake, whose own triggers do not see edits in imported modules; artifacts, which
keep the digest of what made them; and ``feel-steps verify``. Modules are found by reading their text, so that neither
PyTorch nor anything else is imported, and every process finds the same ones.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
# what a registry holds, "feel_steps.localizers.cola:CoLA", and what the report's templates are loaded from
NAMED = re.compile(r"(feel_steps(?:\.\w+)+)(?::\w+)?")


@cache
def digest(step: str) -> str:
    """Digest of the source of one command: its own function in cli.py, and all modules that come of its imports.

    Parameters
    ----------
    step : str
        A command of ``feel-steps``, such as ``import-annotations``.

    Returns
    -------
    str
        The first 16 hexadecimal digits of a SHA-256.

    Raises
    ------
    KeyError
        There is no such command.
    """
    text = (PACKAGE / "cli.py").read_text("utf-8")
    functions = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    name = step.replace("-", "_")
    todo, reached = [name if name in functions else f"{name}_"], dict[str, ast.FunctionDef]()
    while todo:  # the command's function, and the helpers of cli.py that it calls; no name of a variable is a helper's
        if (name := todo.pop()) not in reached:
            reached[name] = functions[name]
            names = (node.id for node in ast.walk(functions[name]) if isinstance(node, ast.Name))
            todo += [name for name in names if name.startswith("_") and name in functions]
    digest, lines = hashlib.sha256(), text.splitlines()
    for name, function in sorted(reached.items()):
        # not its options: an artifact keeps their values
        body = lines[function.body[0].lineno - 1 : function.end_lineno]
        digest.update("\n".join([name, *body, ""]).encode())
    for file in _files(_closure(reached.values())):
        digest.update(f"{file.relative_to(PACKAGE).as_posix()}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _closure(nodes: Iterable[ast.AST]) -> set[str]:
    """Modules that code imports, and those that they import in turn."""
    todo, found = _imports(*nodes), set[str]()
    while todo:
        found.add(module := todo.pop())
        todo |= _imported_by(module) - found
    return found


@cache
def _imported_by(module: str) -> set[str]:
    return _imports(ast.parse(_file(module).read_text("utf-8")))


def _imports(*nodes: ast.AST) -> set[str]:
    """Modules of this package that stand in some code, by an import or by name, with the packages they are in."""
    todo, names = list(nodes), list[str]()
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and (found := NAMED.fullmatch(node.value)):
            names.append(found[1])
        todo += ast.iter_child_nodes(node)
    paths = (name.split(".") for name in names if name.split(".")[0] == PACKAGE.name)
    modules = {".".join(path[:length]) for path in paths for length in range(1, len(path) + 1)}
    return {module for module in modules if _file(module).is_file()}


def _file(module: str) -> Path:
    place = PACKAGE.joinpath(*module.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def _files(modules: Iterable[str]) -> list[Path]:
    """Files of modules; a package brings what lies in its folder beside modules, such as templates."""
    files = {_file(module) for module in modules}
    folders = {file.parent for file in files if file.name == "__init__.py"}
    files |= {file for folder in folders for file in folder.iterdir() if file.is_file() and file.suffix != ".py"}
    return sorted(files)
