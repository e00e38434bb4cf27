"""The library of well-known servers: labels that a person decided for each of their tools. Pure but for `library.toml`.

The library speaks for a server that the gateway itself starts from a known package. Another server may list the very same
names, so there a reviewed label counts only where it is the stricter one.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from gateway.config.packages import Package, find_lockable
from gateway.model.target import Effect, Sensitivity
from gateway.model.wire import JsonObject
from gateway.upstreams.labelling.proposals import Proposal, Reviewed, propose_labels

_FORMAT: Final = 1
_FEWEST: Final = 3
"""Tools of a server that is recognised by their names."""
_LEAVES: Final = "!"


@dataclass(frozen=True, slots=True)
class KnownServer:
    """A package such as `npm:@playwright/mcp`, with the reviewed labels of its tools."""

    package: str
    version: str
    tools: Mapping[str, Reviewed]


def propose_with_library(command: Sequence[str] | None, tools: Sequence[JsonObject]) -> Mapping[str, Proposal]:
    """Return the proposal for each listed tool of a server, by name. `command` starts the server; `None` for another."""
    package = _package_of(command or ())
    server = None if package is None else KNOWN_SERVERS.get(_key(package))
    if package is not None and server is not None:
        return propose_labels(tools, _for_version(server, package.version))
    alike = _find_by_names(frozenset(str(tool.get("name")) for tool in tools))
    return propose_labels(tools, {} if alike is None else dict(_only_stricter(alike)))


def _tools(package: str, entry: Mapping[str, str]) -> Iterator[tuple[str, Reviewed]]:
    because = f"reviewed for {package.partition(':')[2]} {entry['version']}"
    confidential = entry.get("confidential", "").split()
    for effect in Effect:
        for group in (effect.value, effect.value + _LEAVES):
            for name in entry.get(group, "").split():
                sensitivity = Sensitivity.CONFIDENTIAL if name in confidential else Sensitivity.INTERNAL
                yield name, Reviewed(effect, group.endswith(_LEAVES), sensitivity, because)


def _package_of(command: Sequence[str]) -> Package | None:
    """Return the one package whose own program a command runs, from its usual registry. A command with an index of its own has none.

    A further package (`--with`) can replace parts of the first one.
    """
    lockable = find_lockable(command)
    if lockable is None or len(lockable.packages) != 1 or (lockable.program and lockable.registry == "npm"):
        return None
    return lockable.packages[0]


def _key(package: Package) -> str:
    name = package.name if package.registry == "npm" else re.sub(r"[-_.]+", "-", package.name).lower()
    return f"{package.registry}:{name}"


def _for_version(server: KnownServer, version: str | None) -> Mapping[str, Reviewed]:
    """Return the reviewed labels. Their reason says so where the command names another version."""
    if version in {None, server.version}:
        return server.tools
    return {
        name: replace(one, because=f"{one.because}, and the command names {version}")
        for name, one in server.tools.items()
    }


def _find_by_names(names: frozenset[str]) -> KnownServer | None:
    if len(names) < _FEWEST:
        return None
    return next((server for server in KNOWN_SERVERS.values() if frozenset(server.tools) == names), None)


def _only_stricter(server: KnownServer) -> Iterator[tuple[str, Reviewed]]:
    because = f"its tools have the names of {server.package.partition(':')[2]}"
    for name, one in server.tools.items():
        yield name, replace(one, because=because, is_floor=True)


def _read_library() -> Mapping[str, KnownServer]:
    """Return the servers of the library by registry and package."""
    document: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    if document["format"] != _FORMAT:
        raise ValueError(f"library.toml has the format {document['format']}, and this gateway reads {_FORMAT}")
    return {
        package: KnownServer(package, entry["version"], dict(_tools(package, entry)))
        for package, entry in document["servers"].items()
    }


KNOWN_SERVERS: Final = _read_library()
