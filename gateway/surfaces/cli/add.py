"""`opagate add`: the MCP servers of another client, added to an existing configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.surfaces.cli.init import next_steps, read_client_file, tell, write
from gateway.surfaces.cli.options import NAME, ConfigOption
from gateway.surfaces.cli.terminal import err, note


def add(
    source: Annotated[
        Path,
        typer.Option(
            "--from",
            metavar="FILE",
            help="A client's list of MCP servers: of Claude, Codex, Cursor, Gemini CLI, opencode, VS Code.",
        ),
    ],
    config: ConfigOption = None,
) -> None:
    """Add the MCP servers of another client to gateway.yaml, and an empty grant for each to grants.yaml.

    Comments, order and existing entries stay. A server with a taken name gets a number behind its name.

    Secrets are never copied: each becomes a reference to an environment variable, and the command lists the variables to set.
    """
    from gateway.model.errors import ConfigurationError
    from gateway.surfaces.cli import template, yaml_merge

    path = config or NAME
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{path} cannot be read: {reason}", "write one with `opagate init --from`") from None
    imported = read_client_file(source, taken=yaml_merge.names(text, str(path)))
    files = {path: yaml_merge.add(text, str(path), template.upstreams_of(imported.upstreams))}
    grants = path.with_name("grants.yaml")
    if grants.exists():
        before = grants.read_text(encoding="utf-8")
        missing = [name for name in imported.upstreams if name not in yaml_merge.names(before, str(grants))]
        files[grants] = yaml_merge.add(before, str(grants), template.grants_of(missing))
    for name, content in files.items():
        write(name, content)
        err.print(f"added {len(imported.upstreams)} upstreams to {name}", style="green", markup=False)
    if not grants.exists():
        note(f"note: there is no {grants}; grant the new upstreams where policy.grants says")
    tell(imported.variables, imported.notes)
    next_steps(path, imported=True)
