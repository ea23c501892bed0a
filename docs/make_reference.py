"""Write the pages of docs/reference that are made from the project itself.

``config.md`` comes from config.yaml (values and comments) and its schema, ``tables.md`` from the table kinds and
docs/reference/columns.yaml, ``commands.md`` from the command line. Run it after a change to any of these:
``python docs/make_reference.py`` or ``make docs``. A test fails while a page is out of date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from feel_steps.cli import app  # noqa: E402
from feel_steps.localizers import LOCALIZERS, settings_of  # noqa: E402
from feel_steps.tables.kinds import KINDS, Kind  # noqa: E402

REFERENCE = ROOT / "docs" / "reference"
NOTE = "<!-- Written by docs/make_reference.py: edit {source}, then run `make docs`. -->\n"


# ---- config.md


@dataclass
class Key:
    """One key of config.yaml."""

    path: tuple[str, ...]
    value: Any
    comment: str = ""  # beside the key, with its continuation lines
    prose: str = ""  # above the key
    section: bool = False  # its value is a mapping of further keys


def read_keys(text: str) -> list[Key]:
    """Read every key of config.yaml with its comments, in the order of the file.

    A comment line that begins right of the key before it continues that key's comment. Any other comment line is prose
    about the key that follows.
    """
    keys, rows = [], {}
    for path, name, value in walk(yaml.compose(text)):
        section = isinstance(value, yaml.MappingNode) and bool(value.value) and not value.flow_style
        rows[name.start_mark.line] = (Key(path, load(value), section=section), name, value)
    last: tuple[Key, int] | None = None
    prose: list[str] = []
    for number, line in enumerate(text.splitlines()):
        comment = comment_of(line)
        if number in rows:
            key, name, _ = rows[number]
            key.comment, key.prose, prose = comment, " ".join(prose), []
            last = (key, name.start_mark.column)
            keys.append(key)
        elif line.strip().startswith("#") and not line.startswith("# ---"):  # a line between parts of the file
            if last and line.index("#") > last[1] + 2:
                last[0].comment = f"{last[0].comment} {comment}".strip()
            else:
                prose.append(comment)
        elif not line.strip() and not keys:
            prose = []  # the head of the file is about the whole of it
    return keys


def walk(node: yaml.Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], yaml.Node, yaml.Node]]:
    """Every key below a mapping: its path, the node of its name, the node of its value."""
    for name, value in node.value:
        here = (*path, name.value)
        yield here, name, value
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield from walk(value, here)


def load(node: yaml.Node) -> Any:
    """The value of a node."""
    return yaml.safe_load(yaml.serialize(node))


def comment_of(line: str) -> str:
    """The comment at the end of a line of YAML, without its sign; empty where there is none."""
    tokens = line.split("#", 1) if line.startswith("#") else line.split(" #", 1)
    return tokens[1].strip(" #") if len(tokens) == 2 else ""


def allowed(schema: dict[str, Any], path: tuple[str, ...]) -> str:
    """What the schema says about a key's values ("explain")."""
    node = schema
    for name in path:
        node = resolve(schema, node).get("properties", {}).get(name, {})
    return node.get("explain") or resolve(schema, node).get("explain", "")


def resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Follow a ``$ref`` into ``$defs``."""
    return schema["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node


def write_config() -> str:
    """The page of all config keys."""
    schema = yaml.safe_load((ROOT / "schemas/config.schema.yaml").read_text("utf-8"))
    keys = read_keys((ROOT / "config.yaml").read_text("utf-8"))
    sections = {key.path: key for key in keys if key.section}
    groups: dict[tuple[str, ...], list[Key]] = {}
    for key in keys:
        if not key.section:
            groups.setdefault(key.path[:-1], []).append(key)
    lines = [
        "# Config keys\n",
        NOTE.format(source="config.yaml or schemas/config.schema.yaml"),
        "The workflow reads `config.yaml`. A file given with `--configfile` changes only the keys that it names, and "
        "`--config key=value` changes one key. Unknown keys and wrong values are refused before any work starts.\n",
    ]
    for path, members in groups.items():
        lines.append(f"## `{'.'.join(path)}`\n" if path else "## Top level\n")
        if path and (about := " ".join(filter(None, (sections[path].prose, sections[path].comment)))):
            lines.append(f"{about}\n")
        lines += ["| key | default | meaning | allowed values |", "|---|---|---|---|"]
        for key in members:
            meaning = " ".join(filter(None, (key.prose, key.comment)))
            lines.append(row(f"`{key.path[-1]}`", f"`{plain(key.value)}`", meaning, allowed(schema, key.path)))
        lines.append("")
    lines += ["## Settings of each localizer\n", "These stand under `train.settings`.\n"]
    for name in LOCALIZERS:
        own = ", ".join(f"`{setting}: {plain(default)}`" for setting, default in settings_of(name).items())
        lines.append(f"- **`{name}`**: {own}.")
    return "\n".join(lines) + "\n"


def plain(value: Any) -> str:
    """A value as one writes it in YAML, on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()


# ---- tables.md


def write_tables() -> str:
    """The page of all tables."""
    about = yaml.safe_load((REFERENCE / "columns.yaml").read_text("utf-8"))
    known = {table["kind"] for group in about["groups"] for table in group["tables"]}
    if lacking := sorted(set(KINDS) - known):
        sys.exit(f"error: docs/reference/columns.yaml: it does not describe the table kind '{lacking[0]}'; add it")
    lines = ["# Tables\n", NOTE.format(source="docs/reference/columns.yaml"), about["head"]]
    for group in about["groups"]:
        lines += [f"## {group['title']}\n", f"{group['about'].strip()}\n"]
        for table in group["tables"]:
            lines += write_table(table, about["columns"])
    return "\n".join([*lines, about["foot"]])


def write_table(table: dict[str, Any], shared: dict[str, str]) -> list[str]:
    """One table: what it is, and its columns."""
    kind, own = table["kind"], table.get("columns", {})
    spec: Kind = KINDS[kind]
    if unknown := sorted(set(own) - set(spec.columns)):
        sys.exit(f"error: docs/reference/columns.yaml: table kind '{kind}' has no column '{unknown[0]}'; remove it")
    lines = [f"### `{table['file']}`\n", f"{table['about'].strip()}\n", "| column | type | meaning |", "|---|---|---|"]
    for name, type_ in spec.columns.items():
        meaning = own.get(name) or shared.get(name)
        if not meaning:
            sys.exit(f"error: docs/reference/columns.yaml: column '{name}' of table kind '{kind}' is missing; add it")
        marks = {"may be empty": spec.nullable, "optional": spec.optional}
        notes = [note for note, names in marks.items() if name in names]
        lines.append(row(f"`{name}`", ", ".join([type_, *notes]), meaning))
    if spec.extra:
        lines.append(row("others", "float64", table["extra"]))
    return [*lines, ""]


# ---- commands.md


@dataclass
class Command:
    """One command of the command line: its text, and its rows of arguments and options."""

    name: str
    text: str
    rows: list[str] = field(default_factory=list)


def read_commands() -> list[Command]:
    """All commands that are not hidden, in the order in which they are registered."""
    group = typer.main.get_command(app)
    commands = []
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        if command.hidden:
            continue
        entry = Command(name, (command.help or "").strip())
        for parameter in command.params:
            if parameter.name != "help":
                entry.rows.append(read_parameter(parameter))
        commands.append(entry)
    return commands


def read_parameter(parameter: Any) -> str:
    """One argument or option as a row: how it is written, its default, what it means."""
    first = parameter.opts[0]
    if first.startswith("-"):
        shown = ", ".join(f"`{option}`" for option in [*parameter.opts, *parameter.secondary_opts])
    else:
        shown = f"`{first.upper()}{' …' if parameter.nargs == -1 else ''}`"
    default = "required" if parameter.required else show_default(parameter.default)
    return row(shown, default, parameter.help or "")


def show_default(value: Any) -> str:
    """A default as one would type it; empty where there is none."""
    if value is None or value == ():
        return ""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"`{value}`"


def write_commands() -> str:
    """The page of all commands."""
    lines = [
        "# Commands\n",
        NOTE.format(source="the command in feel_steps/cli"),
        "The workflow runs these commands. Each reads files and writes files, so each also works without Snakemake. "
        "`feel-steps COMMAND --help` prints the same in a terminal, and `python -m feel_steps` is the same program.\n",
    ]
    for command in read_commands():
        lines.append(f"## `feel-steps {command.name}`\n")
        text, _, example = command.text.partition("Example:")
        lines.append(f"{text.strip()}\n")
        if example:
            lines += ["```", " ".join(example.split()), "```\n"]
        if command.rows:
            lines += ["| argument or option | default | meaning |", "|---|---|---|", *command.rows, ""]
    return "\n".join(lines)


# ---- all


def row(*cells: str) -> str:
    """A row of a Markdown table."""
    escaped = (" ".join(cell.split()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


PAGES = {"config": write_config, "tables": write_tables, "commands": write_commands}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is out of date")
    check = parser.parse_args().check
    for name, write in PAGES.items():
        page, text = REFERENCE / f"{name}.md", write()
        if check and (not page.is_file() or page.read_text("utf-8") != text):
            sys.exit(f"error: {page.relative_to(ROOT)} is out of date; run: python docs/make_reference.py")
        if not check:
            page.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
