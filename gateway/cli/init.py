"""`opagate init`: a configuration to begin with, or one made from what another client has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.terminal import err, note, out, pairs, plain, show


def init(
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="A client's list of MCP servers: of Claude, Codex, Cursor, Gemini CLI, opencode, VS Code.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write.")] = Path(
        "gateway.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
) -> None:
    """Write a commented gateway.yaml, and a grants.yaml beside it.

    With --from, the servers of another client become upstreams.

    Secrets are never copied: each becomes a reference to an environment variable, and those to set are listed.
    """
    from gateway.cli import importing, template
    from gateway.errors import ConfigurationError

    imported = None
    if source is not None:
        try:
            text = source.expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigurationError(f"{source} cannot be read: {reason}", "name the MCP file of a client") from None
        imported = importing.read(text, str(source))
    grants = output.with_name("grants.yaml")
    upstreams = None if imported is None else imported.upstreams
    files = {output: template.configuration(upstreams), grants: template.grants(upstreams)}
    taken = [str(path) for path in files if path.exists() or path.is_symlink()]
    if taken and not force:
        raise ConfigurationError(f"{' and '.join(taken)} would be overwritten", "name another --output, or add --force")
    for path, content in files.items():
        _write(path, content)
        err.print(f"wrote {path}", style="green", markup=False)
    if imported is not None:
        _tell(imported.variables, imported.notes)
    _next(output, imported is not None)


def _write(path: Path, content: str) -> None:
    """Whole or not at all."""
    from gateway.errors import ConfigurationError

    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(content, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}", "name another --output") from None


def _tell(variables: dict[str, str], notes: list[str]) -> None:
    if variables:
        out.print("\n[bold]Set these variables for the gateway[/] (their values were not copied)")
        rows = pairs()
        for name, where in variables.items():
            rows.add_row(plain(f"  {name}"), plain(where))
        show(rows)
    for text in notes:
        note(f"note: {text}")


def _next(path: Path, imported: bool) -> None:
    config = "" if str(path) == "gateway.yaml" else f" --config {path}"
    out.print("\n[bold]Next[/]")
    rows = pairs()
    rows.add_row(f"  opagate check{config}", "is everything there, and what is to mend")
    rows.add_row(
        f"  opagate catalogue show{config}",
        "the tools; label them in the file" + (", and grant them in grants.yaml" if imported else ""),
    )
    rows.add_row(f"  opagate serve --config {path}", "run it")
    rows.add_row(f"  opagate token --agent you{config}", "a token to call it with")
    show(rows)
