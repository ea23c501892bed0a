"""Digest of the source code of a step: its command, and every module of this package that the command can import.

Snakemake needs the digest because its own triggers do not see edits in imported modules. Artifacts store the digest of
the code that made them, and ``feel-steps verify`` compares the two. Modules are found in the text, so nothing is
imported, and every process finds the same modules.
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
# An import; or a string: an entry of a registry, "package.module:Class", or the package of the report's templates.
# Syntax trees would be exact, but take a job up to a tenth of a second. What a docstring shows counts too: no harm.
IMPORT = re.compile(r"^\s*from ((?:feel_steps|studies)[\w.]*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)
NAMED = re.compile(r"""(?:^\s*import |['"])((?:feel_steps|studies)(?:\.\w+)+)(?::\w+)?(?=['"\s])""", re.MULTILINE)
TYPES = re.compile(r"^if TYPE_CHECKING:\n(?:(?:    .*)?\n)+", re.MULTILINE)
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
    # without the options: an artifact stores their values
    texts = ["\n".join([name, *map(ast.unparse, function.body), ""]) for name, function in sorted(reached.items())]
    digest.update("".join(texts).encode())
    for module in _files(_closure("".join(texts))):
        digest.update(f"{module.relative_to(PACKAGE.parent).as_posix()}\n".encode())
        digest.update(module.read_bytes())
    return digest.hexdigest()[:16]


def list_modules(file: str | Path) -> list[Path]:
    """Files of this package that the code of a file can import, directly or through others."""
    return _files(_closure(Path(file).read_text("utf-8")))


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


@cache
def _functions(file: Path) -> dict[str, ast.FunctionDef]:
    """Functions at the top level of a file, by name."""
    return {node.name: node for node in ast.parse(file.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}


def _closure(text: str) -> set[str]:
    """Modules that code imports, and those that they import in turn."""
    todo, reached = _imports(text), set[str]()
    while todo:
        reached.add(module := todo.pop())
        todo |= _imported_by(module) - reached
    return reached


@cache
def _imported_by(module: str) -> set[str]:
    return _imports(_file(module).read_text("utf-8"))


def _imports(text: str) -> set[str]:
    """Modules of this package that code imports or names in a string, and the packages that contain them."""
    text = TYPES.sub("", text)
    names = NAMED.findall(text)
    for module, imported in IMPORT.findall(text):
        names += [module, *(f"{module}.{name}" for name in re.findall(r"\w+", imported))]
    paths = [name.split(".") for name in names]
    modules = {".".join(path[:length]) for path in paths for length in range(1, len(path) + 1)}
    return {module for module in modules if _file(module).is_file()}


def _file(module: str) -> Path:
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _files(modules: Iterable[str]) -> list[Path]:
    """Files of modules; of a package also the templates in its folder."""
    files = {_file(module) for module in modules}
    folders = {file.parent for file in files if file.name == "__init__.py"}
    files |= {file for folder in folders for file in folder.iterdir() if file.suffix in TEMPLATES}
    return sorted(files)
