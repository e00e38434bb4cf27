"""Output of the commands: tables and colours on stdout, complaints and notes on stderr, JSON for machines."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from gateway.base.letters import spell_out
from gateway.model.errors import GatewayError
from gateway.surfaces.cli.running import ReaderGone

_WIDE: Final = 160
"""Columns of a table when the output goes to a program or a file. Other lines are never broken."""

FURTHER: Final = "    │ "
"""Before each further row of a line on a terminal."""
NARROWEST: Final = 10
"""Cells of a row on the narrowest terminal."""

_STYLES: Final = {
    "allow": "green",
    "allowed": "green",
    "completed": "green",
    "match": "green",
    "ok": "green",
    "ask": "yellow",
    "warn": "yellow",
    "unpinned": "yellow",
    "unreviewed": "yellow",
    "cancelled": "yellow",
    "skipped": "yellow",
    "deny": "red",
    "refused": "red",
    "failed": "red",
    "fail": "red",
    "changed": "red",
    "removed": "red",
    "upstream-failed": "red",
    "unknown": "yellow",
}


class _PlainConsole(Console):
    """A console for text of any origin: no text is a command to the terminal.

    Hidden characters are spelled out as in `plain`; line ends stay.
    """

    def on_broken_pipe(self) -> NoReturn:
        raise ReaderGone

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=_spell_lines(segment.text))


def _spell_lines(text: str) -> str:
    return "\n".join(map(spell_out, text.split("\n")))


def _width(*, stderr: bool = False) -> int | None:
    stream = sys.stderr if stderr else sys.stdout
    return None if stream.isatty() or "COLUMNS" in os.environ else _WIDE


out = _PlainConsole(highlight=False, soft_wrap=True, width=_width())
err = _PlainConsole(stderr=True, highlight=False, soft_wrap=True, width=_width(stderr=True))


def complain(error: GatewayError) -> None:
    """Print the message of an error and its remedy."""
    sentence(error.message, error.remedy)


def sentence(message: str, remedy: str = "") -> None:
    """Print an error, or a note, in the form of every error. Further lines of a message stand in."""
    first, *others = message.split("\n")
    for row in (f"opagate: {first}", *(f"  {other}" for other in others)):
        say(row, style="red", console=err)
    if remedy:
        err.print(f"  → {remedy}", markup=False)


def note(text: str) -> None:
    """Print a line of remarks on stderr, outside of piped output."""
    say(text, style="dim", console=err)


def say(*pieces: str | Text, style: str = "", console: Console | None = None) -> None:
    """Print a line with words of others, on stdout by default. The further rows of a long line stand in on a terminal."""
    screen = console or out
    made = Text.assemble(*(plain(piece) if isinstance(piece, str) else piece for piece in pieces))
    first, *others = [made]
    if screen.is_terminal:
        first, *others = made.wrap(screen, max(NARROWEST, screen.width - len(FURTHER)), overflow="fold")
    for row in (first, *(Text(FURTHER).append_text(other) for other in others)):
        screen.print(row, style=style)


def line(whole: str) -> None:
    """Print a line unchanged, for a program."""
    text(f"{whole}\n")


def text(piece: str) -> None:
    """Print output for a program, exactly as given."""
    try:
        sys.stdout.write(piece)
    except BrokenPipeError:
        raise ReaderGone from None


def require_reader() -> None:
    """End a command with waits between lines once its reader has gone. Else the next line at the earliest would
    tell."""
    watched = select.poll()
    watched.register(sys.stdout.fileno(), 0)
    if watched.poll(0):
        raise ReaderGone


def emit(value: object) -> None:
    """Print a JSON document. Characters beyond ASCII are escaped: none reaches a terminal as a command."""
    line(json.dumps(value, indent=2))


def paint(word: str, label: str | None = None) -> Text:
    """Return a word such as `allow` or `changed` in its colour."""
    return Text(label or word, style=_STYLES.get(word, ""))


class _PlainTable(Table):
    """A table that spells out hidden characters of `str` cells, line ends too. A `Text` cell stays as it is."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        super().add_row(*(plain(cell) if isinstance(cell, str) else cell for cell in cells), **options)


def table(*columns: str, title: str | None = None) -> Table:
    """Return a table without vertical rules. `show` prints the table."""
    named = None if title is None else plain(title)
    made = _PlainTable(box=box.SIMPLE_HEAD, title=named, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(plain(column), overflow="fold")
    return made


def pairs() -> Table:
    """Return a table of names and values, without borders."""
    made = _PlainTable.grid(padding=(0, 2))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    return made


def show(renderable: object) -> None:
    """Print a table, or anything else laid out to the width of the terminal. No text in it is read as markup."""
    out.print(renderable, soft_wrap=False, markup=False)


def describe_count(number: int, thing: str) -> str:
    """Return a number with its noun, such as `1 segment` or `2 segments`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def describe_revision(policy: str, revision: str) -> str:
    """Return a policy and its revision. An OPA reading a folder knows of none."""
    return f"{policy}, revision {revision}" if revision else f"{policy}, without a revision"


def plain(text: str) -> Text:
    """Return words of a caller or an upstream with hidden characters spelled out: none is a command to the terminal."""
    return Text(spell_out(text))


def write_time(seconds: float | None) -> str:
    """Return seconds since the epoch as the journal writes them, and a dash for no time."""
    from gateway.record.journal.chain import timestamp

    return "-" if seconds is None else timestamp(seconds)
