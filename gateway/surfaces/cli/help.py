"""Names for option values in `--help`."""

from __future__ import annotations

from typing import Any

import typer
from typer.main import get_command


class CommandLine(typer.Typer):
    """A command line with no types of Python in its help: typer would put types beside flags and arguments."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        command = get_command(self)
        _without_types(command)
        return command(*args, **kwargs)


def _without_types(command: Any, parent: typer.Context | None = None) -> None:
    context = typer.Context(command, parent=parent, **command.context_settings)
    for parameter in command.get_params(context):
        if parameter.param_type_name == "argument" or parameter.is_flag:
            parameter.display_type_rich = _nothing
    for inner in getattr(command, "commands", {}).values():
        _without_types(inner, context)


def _nothing(**_: object) -> None:
    """Return an empty column for the type."""
