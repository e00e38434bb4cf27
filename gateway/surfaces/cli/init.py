"""`opagate init`: a first configuration, or a configuration made from a client's file."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.surfaces.cli.terminal import err, note, out, pairs, plain, show

if TYPE_CHECKING:
    from gateway.surfaces.cli.importing import Imported


def init(
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="A client's list of MCP servers: of Claude, Codex, Cursor, Gemini CLI, opencode, VS Code.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")] = Path(
        "gateway.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
) -> None:
    """Write a commented gateway.yaml, and a grants.yaml beside it.

    With --from, the servers of another client become upstreams.

    Secrets are never copied: each becomes a reference to an environment variable, and the command lists the variables to set.
    """
    from gateway.model.errors import ConfigurationError
    from gateway.surfaces.cli import template

    imported = None if source is None else read_client_file(source)
    grants = output.with_name("grants.yaml")
    upstreams = None if imported is None else imported.upstreams
    files = {output: template.configuration(upstreams), grants: template.grants(upstreams)}
    taken = [str(path) for path in files if path.exists() or path.is_symlink()]
    if taken and not force:
        remedy = "name another --output, or add --force" + ("" if source is None else "; `opagate add --from` merges")
        raise ConfigurationError(f"{' and '.join(taken)} would be overwritten", remedy)
    for path, content in files.items():
        write(path, content)
        err.print(f"wrote {path}", style="green", markup=False)
    if imported is not None:
        tell(imported.variables, imported.notes)
    next_steps(output, imported=imported is not None)


def read_client_file(source: Path, taken: Collection[str] = ()) -> Imported:
    """Return the servers of a client's file, under names that are not `taken`. Raise `ConfigurationError`."""
    from gateway.model.errors import ConfigurationError
    from gateway.surfaces.cli import importing

    try:
        text = source.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{source} cannot be read: {reason}", "name the MCP file of a client") from None
    return importing.import_servers(text, str(source), taken)


def write(path: Path, content: str) -> None:
    """Write a file whole or not at all. Raise `ConfigurationError`."""
    from gateway.model.errors import ConfigurationError

    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(content, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}", "name another --output") from None


def tell(variables: dict[str, str], notes: list[str]) -> None:
    """Print the variables to set, and the notes of an import."""
    if variables:
        out.print("\n[bold]Set these variables for the gateway[/] (their values were not copied)")
        rows = pairs()
        for name, where in variables.items():
            rows.add_row(plain(f"  {name}"), plain(where))
        show(rows)
    for text in notes:
        note(f"note: {text}")


def next_steps(path: Path, *, imported: bool) -> None:
    """Print the next commands."""
    config = "" if str(path) == "gateway.yaml" else f" --config {path}"
    out.print("\n[bold]Next[/]")
    rows = pairs()
    rows.add_row(f"  opagate check{config}", "check that everything is there")
    rows.add_row(
        f"  opagate catalogue show{config}",
        "the tools; label them in the file" + (", and grant them in grants.yaml" if imported else ""),
    )
    rows.add_row(f"  opagate serve --config {path}", "run it")
    rows.add_row(f"  opagate token --agent you{config}", "a token to call it with")
    show(rows)
