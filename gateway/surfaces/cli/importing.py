"""The MCP servers of other clients, read from their files, as upstreams of the gateway. Secrets are never copied."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypeAlias, cast
from urllib.parse import urlsplit

from gateway.config.packages import find_packages
from gateway.config.values import is_local_http, is_loopback
from gateway.inspection.credentials.live_values import is_telling
from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli.client_secrets import (
    REFERENCE,
    SECRET_NAME,
    is_ordinary_variable,
    is_secret,
    is_token,
    names_secret,
    path_of,
    url_holds_secret,
)
from gateway.surfaces.cli.client_values import BACKUP
from gateway.upstreams.stdio.isolation.needs import is_package_runner

Servers: TypeAlias = Sequence[tuple[str, object]]
"""A name may come twice: two projects may mean different servers by it."""

COMMENTS: Final = re.compile(
    r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*(?:(?!\*/).)*\*/|,(?=\s*(?:(?://[^\n]*|/\*(?:(?!\*/).)*\*/)\s*)*[}\]])', re.DOTALL
)
_OPENCODE_REFERENCE: Final = re.compile(r"\{env:([^}]+)\}")


def read_servers(text: str, name: str) -> Servers:
    """Return the servers of a client's file. Raise `ConfigurationError` without any."""
    document = _toml(text, name) if name.removesuffix(BACKUP).endswith(".toml") else _json(text, name)
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
        document: object = json.loads(COMMENTS.sub(lambda match: match[1] or "", text))
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


_KINDS: Final[Mapping[str, type]] = {"args": list, "env": dict, "headers": dict}


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import. `upstreams` are settings in the form of gateway.yaml. `variables` are environment
    variable → the place of its value. `values` are environment variable → its value there, if it stands there.
    `notes` are sentences about the parts left out."""

    upstreams: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    variables: dict[str, str] = field(default_factory=dict[str, str])
    values: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    notes: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The machine around an import. No server may write into a folder with one of the gateway's `own` files. Programs that
    fetch a package get some variables of `environ`."""

    own: Sequence[Path] = ()
    environ: Mapping[str, str] = field(default_factory=dict[str, str])


_DATA_SUFFIXES: Final = frozenset({".db", ".sqlite", ".sqlite3", ".json", ".jsonl"})
_NETWORK_VARIABLES: Final = (
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"),
    *("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"),
    *("UV_DEFAULT_INDEX", "UV_INDEX_URL", "npm_config_registry"),
)
"""Variables without which a program reaches no registry on some machines."""


def import_servers(
    text: str, name: str, taken: Collection[str] = (), around: Surroundings = Surroundings()
) -> Imported:
    """Return the servers of a client's file, under names that are not `taken`.

    Raises `ConfigurationError` for a file without a list of servers.
    """
    return _import(read_servers(text, name), taken, around)


def import_document(document: Mapping[str, Any]) -> Imported:
    """Return the servers of a client's document."""
    return _import(tuple(_servers(document)), (), Surroundings())


def _import(servers: Servers, taken: Collection[str], around: Surroundings) -> Imported:
    found = Imported()
    referred = {_name_variable(match) for _, settings in servers for match in references(settings)}
    for given, settings in servers:
        upstream = _unique(_slug(given), {*taken, *found.upstreams})
        if not isinstance(settings, Mapping):
            found.notes.append(f"{given}: it is no mapping, and was left out")
            continue
        _ImportedServer(given, upstream, cast("Mapping[str, Any]", settings), found, around, referred).take()
    _declare_outer_folders(found.upstreams)
    return found


def references(value: object) -> Iterator[re.Match[str]]:
    """Yield the references in the texts of a server's settings."""
    if isinstance(value, str):
        yield from REFERENCE.finditer(value)
    elif isinstance(value, Mapping | list):
        held = cast("Mapping[str, object] | list[object]", value)
        for item in held.values() if isinstance(held, Mapping) else held:
            yield from references(item)


def _name_variable(match: re.Match[str]) -> str:
    """Return the environment variable in the place of a client's reference."""
    kind, name = match[1], match[2]
    if name == "userHome":
        return "HOME"
    is_plain = kind not in {"input", "config", "command"} and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)
    return name if is_plain else _constant(name)


def is_own_bridge(settings: Mapping[str, Any]) -> bool:
    """Return whether an entry of a client's file starts the bridge of this gateway, `opagate connect stdio`."""
    command, arguments = settings.get("command"), settings.get("args")
    words = [command, *cast("list[object]", arguments)] if isinstance(arguments, list) else [command]
    texts = [word for word in words if isinstance(word, str)]
    is_own = any(Path(text).name == "opagate" for text in texts) or ("-m", "gateway") in pairwise(texts)
    return is_own and "stdio" in texts


def _declare_outer_folders(upstreams: Mapping[str, dict[str, Any]]) -> None:
    """Declare the outer one of two folders that servers write: no server may replace a declared folder of another."""
    declared = {folder for upstream in upstreams.values() for folder in _written_folders(upstream)}
    for upstream in upstreams.values():
        if folders := _written_folders(upstream):
            outer = {min((each for each in declared if _holds(each, folder)), key=len) for folder in folders}
            upstream["files"] = {"write": sorted(outer)}


def _written_folders(upstream: Mapping[str, Any]) -> list[str]:
    return upstream.get("files", {}).get("write", [])


def _holds(outer: str, folder: str) -> bool:
    return Path(folder).resolve().is_relative_to(Path(outer).resolve())


def _slug(name: str) -> str:
    slug = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:60]
    return slug or "server"


def _unique(name: str, taken: Collection[str], joint: str = "-") -> str:
    if name not in taken:
        return name
    return next(made for n in range(2, len(taken) + 3) if (made := f"{name}{joint}{n}") not in taken)


class _ImportedServer:
    """A server on its way from a client's file into the configuration. `referred` are variables that the file refers to."""

    def __init__(
        self,
        given: str,
        upstream: str,
        settings: Mapping[str, Any],
        found: Imported,
        around: Surroundings,
        referred: Collection[str],
    ) -> None:
        self._given = given
        self._upstream = upstream
        self._settings = settings
        self._found = found
        self._around = around
        self._referred = referred

    def take(self) -> None:
        settings = self._settings
        kind = str(settings.get("type") or settings.get("transport") or "").lower()
        if settings.get("disabled") is True:
            return self._note("it is disabled there, and was left out")
        if is_own_bridge(settings):
            return self._note("it leads to this gateway, and was left out")
        if kind == "sse":
            return self._note("it speaks the old HTTP+SSE transport, which opagate does not; it was left out")
        if (unreadable := next((key for key in _KINDS if not self._is_readable(key)), None)) is not None:
            return self._note(f"its {unreadable} cannot be read, and it was left out")
        url = settings.get("url") or settings.get("serverUrl")
        if isinstance(settings.get("command"), str):
            upstream = self._stdio(settings["command"])
        elif isinstance(url, str):
            upstream = self._http(url)
        else:
            return self._note("it has neither command nor url, and was left out")
        if "envFile" in settings:
            self._note("its envFile is not read; set those variables for the gateway, and name them under env")
        self._found.upstreams[self._upstream] = upstream
        return None

    def _is_readable(self, key: str) -> bool:
        found = cast("object", self._settings.get(key))
        items = cast("list[object]", found) if isinstance(found, list) else []
        right = not found or isinstance(found, _KINDS[key])
        return right and all(isinstance(item, str | int | float) for item in items)

    def _stdio(self, command: str) -> dict[str, Any]:
        arguments = [str(item) for item in cast("list[object]", self._settings.get("args") or [])]
        specs = {package.spec for package in find_packages([command, *arguments])}
        upstream: dict[str, Any] = {"command": [self._expand(command), *self._arguments(arguments, specs)]}
        given = cast("dict[str, Any]", self._settings.get("env") or {})
        env = {**self._inherited(command), **given}
        plain = {name: str(value) for name, value in env.items() if is_ordinary_variable(name, value)}
        if plain:
            upstream["variables"] = plain
        if kept := sorted(given.keys() & plain.keys()):
            values = "kept their values, which look like no secrets; read them once"
            value = "kept its value, which looks like no secret; read it once"
            self._note(f"its {', '.join(kept)} {value if len(kept) == 1 else values}")
        if secret := {name: value for name, value in env.items() if name not in plain}:
            upstream["env"] = {name: self._refer(name, value, f"env {name}") for name, value in secret.items()}
        if isinstance(self._settings.get("cwd"), str):
            upstream["cwd"] = self._expand(self._settings["cwd"])
        if folders := self._folders([*upstream["command"][1:], *(plain[name] for name in plain if name in given)]):
            upstream["files"] = {"write": folders}
        values = [str(value) for name, value in given.items() if SECRET_NAME.search(name) is None]
        self._note_data_files([*upstream["command"][1:], *values], folders)
        for package in find_packages(upstream["command"]):
            if (problem := package.describe_problem()) is not None:
                self._note(f"{problem}; {package.describe_remedy()}")
        if is_package_runner(command):
            upstream["network"] = True
            self._note(
                "it fetches its package, so it was given the network; name the ports that it needs: network: [443]"
            )
        return {**upstream, "audience": self._upstream, "environment": "development"}

    def _inherited(self, command: str) -> dict[str, str]:
        """Return the variables of the machine that a program needs to fetch its package."""
        if not is_package_runner(command):
            return {}
        environ = self._around.environ
        return {name: environ[name] for name in _NETWORK_VARIABLES if name in environ}

    def _folders(self, words: Sequence[str]) -> list[str]:
        """Return the folders of this machine among the words of a command. Clients let their servers write there."""
        found = {path for path in _paths(words) if path.is_dir()}
        shared = {path for path in found if any(own.is_relative_to(path.resolve()) for own in self._around.own)}
        for path in sorted(shared):
            self._note(f"it may read {path} and not write there, since that folder holds the gateway's own files")
        return sorted(str(path) for path in found - shared if not _is_of_system(path.resolve()))

    def _note_data_files(self, words: Sequence[str], folders: Sequence[str]) -> None:
        """Name the files of data in closed folders. The server would write such a file elsewhere, and lose it."""
        for path in _paths(words):
            is_data = path.suffix in _DATA_SUFFIXES and SECRET_NAME.search(path.name) is None
            if is_data and path.parent.is_dir() and not any(path.is_relative_to(folder) for folder in folders):
                self._note(
                    f"its sandbox does not let it write {path}; to let it, open a folder of its own:"
                    f" files: {{write: [{path.parent}]}}"
                )

    def _http(self, url: str) -> dict[str, Any]:
        host = _audience(url) or self._upstream
        secret = url_holds_secret(url)
        upstream: dict[str, Any] = {
            "url": self._variable("URL", "url, in which a secret was", url) if secret else self._write_url(url)
        }
        upstream["audience"] = self._upstream if "${" in url else host
        if is_local_http(url):
            upstream["environment"] = "development"
        headers = cast("dict[str, Any]", self._settings.get("headers") or {})
        if headers:
            first = next((name for name in headers if name.lower() == "authorization"), next(iter(headers)))
            value = self._refer(first.upper(), headers[first], f"header {first}, the whole value", whole=True)
            upstream["credential"] = {"kind": "header", "name": first.lower(), "value": value}
            for other in headers:
                if other != first:
                    self._note(f"its header {other} was left out: an upstream has one credential header")
        return upstream

    def _write_url(self, url: str) -> str:
        """Return a URL with references in the place of the parts of its path that look like a secret."""
        if "${" in url:
            return self._expand(url)
        path = path_of(url)
        shown = (self._variable("URL", "a part of its url", part) if is_telling(part) else part for part in path)
        return "/".join((*url.split("/")[:3], *shown))

    def _arguments(self, arguments: list[str], specs: Collection[str]) -> Iterator[str]:
        """Return the arguments, with references in the place of likely secrets, and of values after a name of a
        secret. `specs` are packages, whose commits are none."""
        follows = False
        for number, argument in enumerate(arguments, 1):
            option, equals, value = argument.partition("=")
            if follows and not argument.startswith("-"):
                yield self._refer(f"ARG{number}", argument, f"argument {number}", whole=True)
            elif equals and value and (names_secret(option) or is_token(value)):
                yield f"{option}={self._refer(f'ARG{number}', value, f'argument {number}, after =', whole=True)}"
            elif argument not in specs and (is_secret(argument) or is_token(argument)):
                yield self._refer(f"ARG{number}", argument, f"argument {number}", whole=True)
            else:
                yield self._expand(argument)
            follows = argument.startswith("-") and not equals and names_secret(argument)

    def _refer(self, name: str, value: object, where: str, *, whole: bool = False) -> str:
        """Return the value's own reference if the value is a reference already, else a new reference."""
        match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match:
            return self._expand(cast("str", value))
        return self._variable(name, where, value, own=whole)

    def _variable(self, name: str, where: str, value: object, *, own: bool = True) -> str:
        """Return a new variable. The name of an environment variable is kept unless another one has it already.

        A value of the file and a value of the environment under one name would reach each other's servers.
        """
        taken = {*self._found.variables, *self._referred}
        prefixed = f"{_constant(self._upstream)}_{_constant(name)}"
        chosen = _constant(name) if not own and _constant(name) not in taken else _unique(prefixed, taken, "_")
        self._found.variables[chosen] = f"{self._given}: {where}"
        self._found.values[chosen] = str(value)
        return f"${{{chosen}}}"

    def _expand(self, text: str) -> str:
        """Return a text with the client's own references made into environment variables."""

        def replaced(match: re.Match[str]) -> str:
            chosen = _name_variable(match)
            if chosen != "HOME":
                self._found.variables.setdefault(chosen, f"{self._given}: {match[0].partition(':-')[0].rstrip('}')}}}")
            return f"${{{chosen}}}"

        return REFERENCE.sub(replaced, text)

    def _note(self, text: str) -> None:
        self._found.notes.append(f"{self._given}: {text}")


def _paths(words: Sequence[str]) -> list[Path]:
    """Return the absolute paths among the words of a command, also behind an equals sign."""
    texts = [text for word in words for text in (word, word.partition("=")[2])]
    return [Path(text).expanduser() for text in texts if text == "~" or text.startswith(("/", "~/"))]


def _is_of_system(path: Path) -> bool:
    """Return whether a folder belongs to the system, whose programs and settings no server needs to change."""
    return len(path.parts) > 1 and path.parts[1] in {"bin", "boot", "dev", "etc", "lib", "proc", "sbin", "sys", "usr"}


def _constant(name: str) -> str:
    made = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").upper()
    return made if made and not made[0].isdigit() else f"X_{made}"


def _audience(url: str) -> str | None:
    """Return the host of a URL; on this machine with its port, since each port is another system."""
    try:
        parts = urlsplit(REFERENCE.sub("x", url))
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    return f"{host}:{port}" if host and port and is_loopback(host) else host
