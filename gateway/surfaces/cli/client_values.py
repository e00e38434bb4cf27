"""The secrets of imported servers, read in the client's file that `client_file` names, and copied nowhere.

While a configuration is loaded, the environment of the process has these secrets.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from gateway.base import own_process, strict_yaml
from gateway.model.errors import ConfigurationError

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.surfaces.cli.importing import Imported

BACKUP: Final = ".before-opagate"
"""The end of the name of a client's file as it was before `opagate connect`."""
_SETTING: Final = "client_file"
_IDENTIFYING: Final = ("command", "url", "env", "credential")
"""Settings of an upstream that say where its secrets go."""


def load(path: Path, *, secrets: bool = True) -> Configuration:
    """Load a configuration, with the secrets in the client's file that it names. Raises `ConfigurationError`."""
    from gateway import config

    with _client_values(path, required=secrets):
        return config.load(path, secrets=secrets)


@contextmanager
def _client_values(path: Path, *, required: bool) -> Generator[None]:
    """Keep the values of the client's file in the environment. A value there comes before one of the environment."""
    before = dict(os.environ)
    given: dict[str, str] = {}
    try:
        given.update(_find_values(path))
    except ConfigurationError:
        if required:
            raise
    os.environ.update(given)
    try:
        yield
    finally:
        own_process.forget_variables(given)
        os.environ.update({name: before[name] for name in given if name in before})


def _find_values(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the variables of the upstreams that stand alike in a configuration and in its client's file.

    An upstream with another command or address than in that file gets no secret from there.
    """
    document = _read(path)
    source = document.get(_SETTING)
    upstreams = document.get("upstreams")
    if not isinstance(source, str) or not isinstance(upstreams, dict):
        return
    from gateway.surfaces.cli import init

    configured = cast("dict[str, object]", upstreams)
    for place in find_sources(path.parent / Path(source).expanduser()):
        imported = init.read_client_file(place, beside=path)
        for name, server in imported.upstreams.items():
            own = configured.get(name)
            if isinstance(own, dict) and _is_same(cast("dict[str, Any]", own), server):
                yield from _values_of(server, imported)


def find_sources(source: Path) -> tuple[Path, ...]:
    """Return the files with the servers of a client: its own, after the one that `opagate connect` kept."""
    kept = source.with_name(source.name + BACKUP)
    return (kept, source) if kept.is_file() else (source,)


def _read(path: Path) -> Mapping[str, Any]:
    """Return the settings of a file; none of an unreadable one, which `config.load` reports."""
    try:
        text = path.read_text("utf-8")
        document = strict_yaml.value(text) if f"{_SETTING}:" in text else None
    except (OSError, UnicodeDecodeError, strict_yaml.UnreadableYaml):
        return {}
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}


def _is_same(own: Mapping[str, Any], server: Mapping[str, Any]) -> bool:
    return all(own.get(key) == server.get(key) for key in _IDENTIFYING)


def _values_of(settings: object, imported: Imported) -> Iterator[tuple[str, str]]:
    """Yield the variables in the settings of a server that have a value in the client's file."""
    from gateway.surfaces.cli.importing import REFERENCE

    if isinstance(settings, str):
        for name in (match[2] for match in REFERENCE.finditer(settings)):
            value = _expand(imported.values[name], REFERENCE) if name in imported.values else None
            if value is not None:
                yield name, value
    elif isinstance(settings, dict | list):
        held = cast("dict[str, object] | list[object]", settings)
        for item in held.values() if isinstance(held, dict) else held:
            yield from _values_of(item, imported)


def _expand(text: str, reference: re.Pattern[str]) -> str | None:
    """Return a value with the client's references replaced from the environment; `None` if one is set nowhere."""

    def replaced(match: re.Match[str]) -> str:
        default = match[3].removeprefix(":-") if match[3] else None
        found = os.environ.get(match[2], default) if match[1] in {None, "env"} else None
        if found is None:
            raise KeyError(match[2])
        return found

    try:
        return reference.sub(replaced, text)
    except KeyError:
        return None
