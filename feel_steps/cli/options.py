"""Options that several commands share, and how their texts are parsed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from feel_steps.errors import InputError

# Options that several commands share.
Videos = Annotated[Path, typer.Option(help="videos table")]
Features = Annotated[Path, typer.Option(help="folder of the feature parts")]
Pooled = Annotated[Path, typer.Option(help="pooled table: one vector a video")]
Parts = Annotated[Path | None, typer.Option(help="parts table, where parts of videos are clustered")]
Clusters = Annotated[int, typer.Option(min=1, help="number of clusters, K")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1)]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads; the same number gives the same bytes")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps")]
GivenTables = Annotated[
    list[Path] | None, typer.Option("--given", help="tables of what a person said about videos; the last one wins")
]
Out = Annotated[Path, typer.Option(help="where the result goes")]


def parse_numbers(text: str, option: str) -> list[float]:
    """Parse ``0.1,0.2,0.3``."""
    try:
        numbers = [float(item) for item in text.split(",")]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"{option} {text!r}: expected numbers with commas between them, such as 0.1,0.2,0.3")
    return numbers


def parse_integers(text: str, option: str) -> list[int]:
    """Parse ``4,6,8``: whole numbers from 2, each once."""
    try:
        numbers = [int(item) for item in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 2 or len(set(numbers)) < len(numbers):
        raise InputError(f"{option} {text!r}: expected different whole numbers from 2, such as 6 or 4,6,8")
    return numbers


def parse_range(text: str, option: str) -> tuple[float, float, float]:
    """Parse ``start,stop,step``."""
    values = parse_numbers(text, option)
    if len(values) != 3:
        raise InputError(f"{option} {text!r}: expected start,stop,step")
    return values[0], values[1], values[2]


def parse_settings(text: str, option: str) -> dict[str, Any]:
    """Parse a JSON object."""
    import json

    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{option} {text!r}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise InputError(f"{option} {text!r}: expected a JSON object, {{}}")
    return values
