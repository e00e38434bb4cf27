"""`opagate token`: a development token."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from gateway.surfaces.cli.options import ConfigOption, configuration, configuration_path, seconds
from gateway.surfaces.cli.terminal import line, note


def token(
    agent: Annotated[str, typer.Option(metavar="NAME", help="The agent that the token is for.")],
    user: Annotated[str | None, typer.Option(metavar="NAME", help="The person on whose behalf it acts.")] = None,
    group: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A group of that person. Repeatable.")] = None,
    scope: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A scope. Repeatable.")] = None,
    ttl: Annotated[str, typer.Option(metavar="DURATION", help="How long it is valid.")] = "1h",
    config: ConfigOption = None,
) -> None:
    """Print a development token, and nothing else, on standard output."""
    from gateway.identity import claims, development
    from gateway.model.errors import ConfigurationError

    lifetime = seconds(ttl)
    for option, name in (("agent", agent), ("user", user)):
        if name is not None and claims.identifier(name) is None:
            raise typer.BadParameter(
                f"--{option} is empty, too long, no SPIFFE ID or not printable, so no gateway takes it"
            )
    if group and not user:
        raise typer.BadParameter("a group is that of a user; add --user")
    settings = configuration(config)
    if not any(identity.kind == "development" for identity in settings.identity):
        raise ConfigurationError(
            f"{configuration_path(config)} does not accept development tokens",
            "add `- kind: development` under identity (loopback only), or get a token from the configured issuer",
        )
    made = development.issue(
        development.load_key(settings.state),
        agent=agent,
        audience=f"{settings.base_url}/mcp",
        ttl=lifetime,
        clock=time.time,
        user=user,
        groups=group or (),
        scopes=scope or (),
    )
    note(f"A token for development: {settings.base_url} accepts it from this machine only, for {ttl}.")
    line(made)
