"""Groups of commands that answer an unknown word with the nearest commands, wherever these are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final

import typer
from typer.core import TyperGroup

_OTHER_WORDS: Final[Mapping[str, str]] = {
    "add": "init",
    "audit": "journal",
    "compile": "build",
    "leases": "credentials",
    "login": "console",
    "logs": "journal",
    "run": "up",
    "serve": "up",
    "start": "up",
    "tools": "catalogue",
}
"""Words that people try first, and the command for each."""
_SUGGESTIONS: Final = 3


class SuggestingGroup(TyperGroup):
    """A group that names the nearest commands for an unknown word. The command is never run under another name."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.suggest_commands = False

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override] - typer's own class is private
        """Return the command, or fail with suggestions."""
        found = self.commands.get(cmd_name)
        if found is None and not cmd_name.startswith("-"):
            ctx.fail(describe_unknown(cmd_name, ctx.find_root().command, within=ctx.command_path))
        return found


def describe_unknown(word: str, root: Any, *, within: str) -> str:
    """Return the sentence on a word that is no command of the group `within`."""
    near = find_near(word, list(_walk(root, "opagate")), within=within)
    said = f"no such command {word!r}"
    return f"{said}; did you mean {' or '.join(f'`{path}`' for path in near)}?" if near else said


def find_near(word: str, paths: list[str], *, within: str) -> list[str]:
    """Return the paths of commands whose last word is like `word`: in the group first, then by likeness."""
    names = {path.rsplit(" ", 1)[1] for path in paths}
    near = get_close_matches(word.lower(), sorted(names | _OTHER_WORDS.keys()), n=_SUGGESTIONS, cutoff=0.7)
    if word.lower() in near:
        near = [word.lower()]
    ranked = [path for name in near for path in paths if path.rsplit(" ", 1)[1] == _OTHER_WORDS.get(name, name)]
    inside = [path for path in ranked if path.rsplit(" ", 1)[0] == within]
    return list(dict.fromkeys([*inside, *ranked]))[:_SUGGESTIONS]


def _walk(command: Any, path: str) -> Iterator[str]:
    """Yield the path of each command and group below a group."""
    for name, inner in getattr(command, "commands", {}).items():
        yield f"{path} {name}"
        yield from _walk(inner, f"{path} {name}")
