"""What commands print: tables of 80 columns, JSON for machines, and nothing that a terminal would obey."""

from __future__ import annotations

import json
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.schemas import Message
from pipeline.text import REPLACEMENT

#: Columns of the output where it does not go to a terminal.
PLAIN_WIDTH = 80

#: Spaces between two columns of a table, where there is room.
GAP = 2

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def console() -> Console:
    """Standard output: as wide as the terminal, or 80 columns without colours."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(width=PLAIN_WIDTH, highlight=False, no_color=True)


def printable(text: object) -> str:
    """The text without what could steer a terminal; lines and tabs stay."""
    return "".join(REPLACEMENT if _steers(character) else character for character in str(text))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, whole: Sequence[str] = ()) -> Table:
    """Rows under bold headings. What does not fit is cut with an ellipsis, but no heading, and no `whole` column."""
    cells = [[printable("-" if value is None else value) for value in row] for row in rows]
    wanted = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    least = [width if name in whole else len(name) for name, width in zip(columns, wanted, strict=True)]
    gaps, room = len(columns) - 1, console().width
    gap = GAP if sum(least) + GAP * gaps <= room else 1
    made = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="bold")
    for name, width in zip(columns, _widths(least, wanted, room - gap * gaps), strict=True):
        made.add_column(name, no_wrap=True, overflow="ellipsis", width=width)
    for row in cells:
        made.add_row(*map(Text, row))
    return made


def _widths(least: Sequence[int], wanted: Sequence[int], room: int) -> list[int]:
    """Of columns, each at least so wide; what room is left goes to the narrowest that want more."""
    widths = list(least)
    while sum(widths) < room and (short := [n for n, width in enumerate(widths) if width < wanted[n]]):
        widths[min(short, key=widths.__getitem__)] += 1
    return widths


def print_messages(messages: Iterable[Message]) -> None:
    """A message a line, as long as it is."""
    out = console()
    for message in messages:
        called = f" (calls {len(message.tool_calls)} tools)" if message.tool_calls else ""
        words = printable(f"{message.number:>4}  {message.role}{called}: {message.content}")
        out.print(words, markup=False, soft_wrap=True)


def _steers(character: str) -> bool:
    return character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cs")


def emit_json(value: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(value, default=_plain, ensure_ascii=False, indent=2))


def emit_json_list(values: Iterable[Any]) -> None:
    """The same for a list, an item after the other as it comes."""
    start = "["
    for value in values:
        item = json.dumps(value, default=_plain, ensure_ascii=False, indent=2)
        typer.echo(f"{start}\n{textwrap.indent(item, '  ')}", nl=False)
        start = ","
    typer.echo("[]" if start == "[" else "\n]")


def moment(when: datetime | None) -> str:
    """To the second, in UTC; a dash where there is none."""
    return "-" if when is None else when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def seconds(length: float | None) -> str:
    """A duration; a dash where there is none."""
    return "-" if length is None else f"{length:.1f} s"


def between(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds from one to the other."""
    return None if start is None or end is None else (end - start).total_seconds()


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)
