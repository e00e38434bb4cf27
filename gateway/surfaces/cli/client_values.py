"""The secrets of imported servers, read in the client's file that `client_file` names, and copied nowhere.

While a configuration is loaded, the environment of the process has these secrets.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
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
    """Load a configuration. Secrets come from the file in its setting `client_file`. Raises `ConfigurationError`."""
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


def _find_values(path: Path) -> Mapping[str, str]:
    """Return the variables of the upstreams that stand alike in a configuration and in its client's file.

    An upstream with another command or address than in that file gets no secret from there. Raise `ConfigurationError` if
    one variable would carry a secret into another place too.
    """
    document = _read(path)
    source = document.get(_SETTING)
    upstreams = document.get("upstreams")
    if not isinstance(source, str) or not isinstance(upstreams, dict):
        return {}
    from gateway.surfaces.cli import init

    configured = cast("dict[str, object]", upstreams)
    given: dict[str, str] = {}
    owners: dict[str, str] = {}
    alike: list[Mapping[str, Any]] = []
    for place in find_sources(path.parent / Path(source).expanduser()):
        imported = init.read_client_file(place, beside=path)
        for name, server in imported.upstreams.items():
            if not _is_same(configured.get(name), server):
                continue
            alike.append(server)
            for variable, value in _values_of(server, imported):
                if owners.setdefault(variable, name) != name and given[variable] != value:
                    raise _is_shared(path, variable, owners[variable], name)
                given[variable] = value
    for place, settings in _others(document, alike):
        if shared := next((each for each in _names_of(settings) if each in given), None):
            raise _is_shared(path, shared, owners[shared], place)
    return given


def _others(document: Mapping[str, Any], alike: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, object]]:
    """Yield all settings but the upstreams that are like a server of the client's file, by their names."""
    for name, upstream in document["upstreams"].items():
        if not any(_is_same(upstream, server) for server in alike):
            yield str(name), upstream
    yield from ((name, value) for name, value in document.items() if name != "upstreams")


def _is_shared(path: Path, variable: str, owner: str, other: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path}: ${{{variable}}} is a secret of {owner} in the client's file, and {other} names it too",
        f"write another variable for {other}, and set it in the environment",
    )


def find_sources(source: Path) -> tuple[Path, ...]:
    """Return the files with the servers of a client: its own, after the one that `opagate connect` kept."""
    source = Path(os.path.realpath(source))  # beside the file itself, where `connect` writes it
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


def _is_same(own: object, server: Mapping[str, Any]) -> bool:
    if not isinstance(own, dict):
        return False
    configured = cast("dict[str, Any]", own)
    return all(configured.get(key) == server.get(key) for key in _IDENTIFYING)


def _values_of(settings: object, imported: Imported) -> Iterator[tuple[str, str]]:
    """Yield the variables in the settings of a server that have a value in the client's file."""
    from gateway.surfaces.cli.client_secrets import REFERENCE

    for name in _names_of(settings):
        value = _expand(imported.values[name], REFERENCE) if name in imported.values else None
        if value is not None:
            yield name, value


def _names_of(settings: object) -> Iterator[str]:
    """Yield the variables in settings."""
    from gateway.surfaces.cli.importing import references

    yield from (match[2] for match in references(settings))


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
