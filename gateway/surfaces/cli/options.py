"""Options of several commands, and readers of their values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.record.journal.several import NamedJournal

NAME: Final = Path("gateway.yaml")
TRIAL: Final = Path("state/up.yaml")
"""What `opagate up` writes, so that the other commands find the gateway that it runs."""

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="The configuration file. Without it: gateway.yaml, or else that of `opagate up`.",
        show_default=False,
    ),
]
JournalOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--journal",
        metavar="FOLDER",
        help="The folder of a journal, or of archived segments, in the place of those of the configuration. Repeatable.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, for programs.")]


def configuration_path(given: Path | None) -> Path:
    """Return the path of the configuration. `config.load` reports a missing file."""
    return given or (TRIAL if TRIAL.exists() and not NAME.exists() else NAME)


def configuration(given: Path | None, *, secrets: bool = False) -> Configuration:
    """Return the configuration of a command. Raises `ConfigurationError`.

    Only a command with connections to upstreams needs their `secrets`; the others run where the secrets are not set.
    """
    from gateway.surfaces.cli import client_values

    return client_values.load(configuration_path(given), secrets=secrets)


def chosen_journals(settings: Configuration, folders: list[Path] | None = None) -> list[NamedJournal]:
    """Return the journals of the configuration, or those in some folders. Raises `JournalError`.

    A folder of the configuration has its key. Any other one is taken for an archive of this gateway.
    """
    from gateway.config import keys
    from gateway.record.journal.several import NamedJournal
    from gateway.surfaces.stored.workers import list_journals

    if not folders:
        return list_journals(settings)
    known = {each.folder.resolve(): each.keys for each in list_journals(settings)}
    own = keys.read_chain(settings)
    return [NamedJournal(str(folder), folder, known.get(folder.resolve(), own)) for folder in folders]


def refuse_lost_options(context: typer.Context) -> None:
    """Refuse options before a command of a group. They belong to the group's own work, which is not done then."""
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name and _is_given(context, parameter.name)
    ]
    if given:
        command = f"{context.command_path} {context.invoked_subcommand}"
        raise typer.BadParameter(f"{' and '.join(given)} would have no effect; put them behind `{command}`")


def _is_given(context: typer.Context, parameter: str) -> bool:
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def select_given(**options: object) -> dict[str, Any]:
    """Return the options that are given on the command line, by their names."""
    return {name: value for name, value in options.items() if value is not None}


def seconds(text: str) -> float:
    """Return a duration such as `1h`. Raises `typer.BadParameter`."""
    from pydantic import TypeAdapter, ValidationError

    from gateway.config.values import Duration

    try:
        return TypeAdapter(Duration).validate_python(text).total_seconds()
    except ValidationError:
        raise typer.BadParameter(f"{text!r} is not a duration; write it like 90s, 30m or 8h") from None


def moment(text: str, *, now: float) -> float:
    """Return a point in time: RFC 3339, a date, or a duration before now. Seconds since the epoch.

    Raises `typer.BadParameter`.
    """
    from datetime import UTC, datetime

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        try:
            return now - seconds(text)
        except typer.BadParameter:
            raise typer.BadParameter(
                f"{text!r} is not a time; write it like 2026-11-25T09:00:00Z, 2026-11-25 (UTC) or 2h (ago)"
            ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def later(text: str, *, now: float) -> float:
    """Return a point in time: RFC 3339, a date, or a duration from now. Seconds since the epoch.

    Raises `typer.BadParameter`.
    """
    try:
        return now + seconds(text)
    except typer.BadParameter:
        pass
    try:
        return moment(text, now=now)
    except typer.BadParameter:
        raise typer.BadParameter(
            f"{text!r} is not a time; write it like 2026-11-25T09:00:00Z, 2026-11-25 (UTC) or 2h (from now)"
        ) from None
