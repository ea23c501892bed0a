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

PACKAGE = Path(__file__).parents[1]
STUDIES = "studies"  # the package beside this one, in a clone
# what a registry holds, "feel_steps.localizers.cola:CoLA", and what the report's templates are loaded from
NAMED = re.compile(r"((?:feel_steps|studies)(?:\.\w+)+)(?::\w+)?")
TEMPLATES = (".j2", ".css", ".js")


@cache
def digest(step: str) -> str:
    """Digest of the source of one command: its function in feel_steps/cli and all modules that this imports.

    Parameters
    ----------
    step : str
        A command of ``feel-steps``, such as ``import-annotations``, or of ``python -m studies``.

    Returns
    -------
    str
        The first 16 hexadecimal digits of a SHA-256.

    Raises
    ------
    KeyError
        There is no such command.
    """
    name, file = _find_command(step)
    helpers = _functions(PACKAGE / "cli/options.py") | _functions(file)
    helpers = {key: function for key, function in helpers.items() if not function.decorator_list}
    todo, reached = [_functions(file)[name]], dict[str, ast.FunctionDef]()
    while todo:  # the command's function, and the helpers that it calls
        if (function := todo.pop()).name not in reached:
            reached[function.name] = function
            names = (node.id for node in ast.walk(function) if isinstance(node, ast.Name))
            todo += [helpers[name] for name in names if name in helpers]
    digest = hashlib.sha256()
    for name, function in sorted(reached.items()):
        # without its options: an artifact keeps their values
        digest.update("\n".join([name, *map(ast.unparse, function.body), ""]).encode())
    for module in _files(_closure(reached.values())):
        digest.update(f"{module.relative_to(PACKAGE.parent).as_posix()}\n".encode())
        digest.update(module.read_bytes())
    return digest.hexdigest()[:16]


def _find_command(step: str) -> tuple[str, Path]:
    """Function and file of a command; the studies' file is read only where no other file has it."""
    for file in [*sorted((PACKAGE / "cli").glob("*.py")), PACKAGE.parent / STUDIES / "__main__.py"]:
        if step in (commands := _commands(file)):
            return commands[step], file
    raise KeyError(step)


@cache
def _commands(file: Path) -> dict[str, str]:
    """Function of each command in a file, by the command's name."""
    commands = {}
    for name, function in _functions(file).items() if file.is_file() else ():
        for call in function.decorator_list:
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "app.command":
                given = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
                commands[str(given or name.replace("_", "-"))] = name
    return commands


def _functions(file: Path) -> dict[str, ast.FunctionDef]:
    """Functions at the top level of a file, by name."""
    return {node.name: node for node in ast.parse(file.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}


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
    paths = (name.split(".") for name in names if name.split(".")[0] in (PACKAGE.name, STUDIES))
    modules = {".".join(path[:length]) for path in paths for length in range(1, len(path) + 1)}
    return {module for module in modules if _file(module).is_file()}


def _file(module: str) -> Path:
    place = PACKAGE.parent.joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def _files(modules: Iterable[str]) -> list[Path]:
    """Files of modules; a package brings the templates in its folder."""
    files = {_file(module) for module in modules}
    folders = {file.parent for file in files if file.name == "__init__.py"}
    files |= {file for folder in folders for file in folder.iterdir() if file.suffix in TEMPLATES}
    return sorted(files)
