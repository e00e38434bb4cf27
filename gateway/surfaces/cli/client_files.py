"""The files in which clients keep their MCP servers → names and settings, in the words of Cursor. Pure: text in.

| client | where |
|---|---|
| Cursor, Claude Desktop, Gemini CLI | `mcpServers` |
| Claude Code | `mcpServers` of `.mcp.json`; of `~/.claude.json` also of each of `projects` |
| VS Code | `servers`, also below `mcp` in its settings file; comments and trailing commas are allowed |
| opencode | `mcp` |
| Codex | `mcp_servers` of `config.toml` |
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

from gateway.model.errors import ConfigurationError

Servers: TypeAlias = Sequence[tuple[str, object]]
"""A name may come twice: two projects may mean different servers by it."""

_JSONC: Final = re.compile(
    r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/|,(?=\s*(?:(?://[^\n]*|/\*.*?\*/)\s*)*[}\]])', re.DOTALL
)
_OPENCODE_REFERENCE: Final = re.compile(r"\{env:([^}]+)\}")


def read_servers(text: str, name: str) -> Servers:
    """Return the servers of a client's file. Raise `ConfigurationError` without any."""
    document = _toml(text, name) if name.endswith(".toml") else _json(text, name)
    found: list[tuple[str, object]] = []
    for server in _servers(document):
        if server not in found:
            found.append(server)
    if not found:
        raise ConfigurationError(
            f"{name} has no list of MCP servers",
            "it should have the key mcpServers (Claude, Cursor, Gemini CLI), servers (VS Code), mcp (opencode) "
            "or mcp_servers (Codex)",
        )
    return found


def _json(text: str, name: str) -> Mapping[str, Any]:
    try:
        document: object = json.loads(_JSONC.sub(lambda match: match[1] or "", text))
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"{name} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}",
            "name the MCP file of a client",
        ) from None
    except (ValueError, RecursionError):
        raise _unreadable(name) from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"{name} is not an object", "name the MCP file of a client")
    return cast("Mapping[str, Any]", document)


def _toml(text: str, name: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name} is not TOML: {error}", "name the MCP file of a client") from None
    except (ValueError, RecursionError):
        raise _unreadable(name) from None


def _unreadable(name: str) -> ConfigurationError:
    """Report a file nested too deeply, or with too long a number."""
    return ConfigurationError(f"{name} cannot be read", "name the MCP file of a client")


def _servers(document: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for place in (document, _mapping(document.get("mcp")), *_mapping(document.get("projects")).values()):
        for key in ("mcpServers", "servers"):
            for name, settings in _mapping(_mapping(place).get(key)).items():
                yield name, _of_gemini(settings)
    own = _mapping(document.get("mcp"))
    if not {"mcpServers", "servers"} & own.keys():
        yield from ((name, _of_opencode(settings)) for name, settings in own.items())
    yield from ((name, _of_codex(settings)) for name, settings in _mapping(document.get("mcp_servers")).items())


def _of_gemini(settings: object) -> object:
    """Return Gemini's server: `httpUrl` is the `url` of others (its own `url` may be a server of the old transport)."""
    given = dict(_mapping(settings))
    if "httpUrl" not in given:
        return settings
    given["url"] = given.pop("httpUrl")
    return given


def _of_opencode(settings: object) -> object:
    """Return opencode's server: command and arguments are a list there, and `{env:NAME}` is a variable."""
    if not isinstance(settings, Mapping):
        return settings
    given = cast("dict[str, Any]", _with_references(cast("object", settings)))
    command = given.pop("command", None)
    if isinstance(command, list) and command:
        given["command"], *given["args"] = cast("list[Any]", command)
    if "environment" in given:
        given["env"] = given.pop("environment")
    return _switch(given)


def _of_codex(settings: object) -> object:
    """Names of environment variables stand there where others have a value."""
    if not isinstance(settings, Mapping):
        return settings
    given = dict(cast("Mapping[str, Any]", settings))
    names = given.pop("env_vars", None)
    passed = [name for name in cast("list[object]", names) if isinstance(name, str)] if isinstance(names, list) else []
    if passed:
        given["env"] = {**_mapping(given.get("env")), **{name: f"${{{name}}}" for name in passed}}
    headers = dict(_mapping(given.pop("http_headers", None)))
    headers |= {name: f"${{{value}}}" for name, value in _mapping(given.pop("env_http_headers", None)).items()}
    if (token := given.pop("bearer_token_env_var", None)) is not None:
        headers["Authorization"] = f"Bearer ${{{token}}}"
    if headers:
        given["headers"] = headers
    return _switch(given)


def _switch(given: dict[str, Any]) -> dict[str, Any]:
    """Return the entry with a false `enabled` as a true `disabled`, the spelling of other clients."""
    if given.pop("enabled", True) is False:
        given["disabled"] = True
    return given


def _with_references(value: object) -> object:
    if isinstance(value, str):
        return _OPENCODE_REFERENCE.sub(r"${\1}", value)
    if isinstance(value, Mapping):
        return {name: _with_references(item) for name, item in cast("Mapping[str, object]", value).items()}
    if isinstance(value, list):
        return [_with_references(item) for item in cast("list[object]", value)]
    return value


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
