"""`opagate connect`: the gateway in the place of the servers in a client's file, and back."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer

from gateway.base import strict_yaml
from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli import client_lists, importing
from gateway.surfaces.cli.client_lists import ListForm
from gateway.surfaces.cli.client_values import BACKUP
from gateway.surfaces.cli.options import ConfigOption, configuration, configuration_path
from gateway.surfaces.cli.terminal import err, note, plain, say, show, table

ENTRY: Final = "opagate"
"""The gateway's entry in the list of a client."""
_SWITCHES: Final = frozenset({"disabled", "enabled", "transport", "type"})
"""Settings for which an import leaves an entry out."""
_REFERENCES: Final = re.compile(r"\$\{[^}]*\}")


class ClientName(StrEnum):
    """The clients with a known place of their file."""

    CLAUDE_CODE = "claude-code"
    CLAUDE_DESKTOP = "claude-desktop"
    CODEX = "codex"
    CURSOR = "cursor"
    GEMINI = "gemini"
    VSCODE = "vscode"


_TITLES: Final[Mapping[ClientName, str]] = {
    ClientName.CLAUDE_CODE: "Claude Code",
    ClientName.CLAUDE_DESKTOP: "Claude Desktop",
    ClientName.CODEX: "Codex",
    ClientName.CURSOR: "Cursor",
    ClientName.GEMINI: "Gemini CLI",
    ClientName.VSCODE: "VS Code",
}
_JSON: Final = ListForm("json", "mcpServers")
_FORMS: Final[Mapping[ClientName, ListForm]] = {
    ClientName.CLAUDE_CODE: ListForm("json", "mcpServers", has_type=True),
    ClientName.CLAUDE_DESKTOP: _JSON,
    ClientName.CODEX: ListForm("toml", "mcp_servers"),
    ClientName.CURSOR: _JSON,
    ClientName.GEMINI: _JSON,
    ClientName.VSCODE: ListForm("json", "servers", has_type=True),
}


def find_file(client: ClientName, environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Return the place of a client's list of servers for its user."""
    home = Path(environ.get("HOME") or Path.home())
    desktop = home / "Library/Application Support" if platform == "darwin" else home / ".config"
    match client:
        case ClientName.CLAUDE_CODE:
            return Path(environ.get("CLAUDE_CONFIG_DIR") or home) / ".claude.json"
        case ClientName.CLAUDE_DESKTOP:
            return desktop / "Claude/claude_desktop_config.json"
        case ClientName.CODEX:
            return Path(environ.get("CODEX_HOME") or home / ".codex") / "config.toml"
        case ClientName.CURSOR:
            return home / ".cursor/mcp.json"
        case ClientName.GEMINI:
            return home / ".gemini/settings.json"
        case ClientName.VSCODE:
            return desktop / "Code/User/mcp.json"


app = typer.Typer(invoke_without_command=True)

_FileOption = Annotated[
    Path | None,
    typer.Option("--file", metavar="FILE", help="Another file of that client, such as .vscode/mcp.json."),
]
_RemoveOption = Annotated[bool, typer.Option("--remove", help="Give the client its own servers back.")]
_YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.callback(epilog="Example: opagate connect")
def connect(context: typer.Context) -> None:
    """Put the gateway into a client's file, in the place of the servers there. Without a client: list the clients."""
    if context.invoked_subcommand is None:
        _show_clients()


def _connection_of(client: ClientName) -> Callable[..., None]:
    """Return the command that connects a client."""

    def connect_client(
        file: _FileOption = None, remove: _RemoveOption = False, yes: _YesOption = False, config: ConfigOption = None
    ) -> None:
        _connect(client, file, config, is_removal=remove, yes=yes)

    connect_client.__doc__ = f"""Put the gateway into the file of {_TITLES[client]}.

    The command shows the change and asks. A copy of the file has `.before-opagate` behind its name, and --remove brings it back.
    """
    return connect_client


for _client in ClientName:
    app.command(_client.value, epilog=f"Example: opagate connect {_client.value} --yes")(_connection_of(_client))


def _connect(client: ClientName, file: Path | None, config: Path | None, *, is_removal: bool, yes: bool) -> None:
    place = (file or find_file(client, os.environ)).expanduser().resolve()
    before = _read(place)
    form = _FORMS[client]
    if is_removal:
        after = disconnect_text(
            before, _read(backup_of(place)) if backup_of(place).exists() else None, form, str(place)
        )
    else:
        path = configuration_path(config)
        words = [*_own_program(), "connect", "stdio", "--agent", client.value, "--config", str(path.absolute())]
        _require_development(path)
        after = connect_text(before, form, words, _read_upstreams(path), str(place))
    if after == before:
        note(f"{place} is as it should be")
        return
    _show_change(before, after, form, place)
    if not (yes or _has_agreed(place)):
        raise typer.Abort
    _replace(place, before, after, is_removal=is_removal)
    done = "has its own servers again" if is_removal else "reaches the gateway"
    err.print(f"{client.value} {done}: start it anew", style="green", markup=False)


# --- the text of a client's file -------------------------------------------------------------------------


def connect_text(text: str, form: ListForm, words: list[str], upstreams: Mapping[str, Any], where: str) -> str:
    """Return a client's file with the gateway in the place of its `upstreams`. Raises `ConfigurationError`.

    `upstreams` have the form of the configuration.
    """
    entries = client_lists.read_list(text, form, where)
    served = {_identify(upstream) for upstream in upstreams.values()}
    replaced = {name for name, entry in entries.items() if not served.isdisjoint(_identify_entry(name, entry, form))}
    for name in sorted(entries.keys() - replaced - {ENTRY}):
        note(f"note: {name} stays, since the gateway does not serve it; the client reaches it without the gateway")
    entry = client_lists.render_entry(form, ENTRY, words)
    if not replaced and entries.get(ENTRY) == client_lists.read_entry(form, ENTRY, entry):
        return text
    return client_lists.change_list(text, form, where, without=replaced | {ENTRY}, added={ENTRY: entry})


def disconnect_text(text: str, original: str | None, form: ListForm, where: str) -> str:
    """Return a client's file without the gateway, and with the servers of the original again.

    It is the original itself if the client has changed nothing since.
    """
    present = client_lists.read_list(text, form, where)
    if ENTRY not in present:
        return text
    first = original or ""
    missing = [name for name in client_lists.read_list(first, form, where) if name not in present]
    entry = client_lists.take_entry(text, form, ENTRY)
    if client_lists.change_list(first, form, where, without={*missing, ENTRY}, added={ENTRY: entry}) == text:
        return first
    back = {
        name: client_lists.take_entry(first, form, name)
        for name in (missing if form.language == "toml" else reversed(missing))
    }
    return client_lists.change_list(text, form, where, without={ENTRY}, added=back)


def _identify_entry(name: str, entry: object, form: ListForm) -> Iterator[str]:
    """Yield the command or address of an entry, as an import writes it."""
    yield from map(_identify, importing.import_document({form.key: {name: entry}}).upstreams.values())


def _identify(upstream: Mapping[str, Any]) -> str:
    """Return a command or an address without its variables: the configuration may name these otherwise."""
    return _REFERENCES.sub("$", json.dumps([upstream.get("command"), upstream.get("url")]))


# --- files and people ------------------------------------------------------------------------------------


def backup_of(place: Path) -> Path:
    """Return the place of a client's file as it was before."""
    return place.with_name(place.name + BACKUP)


def _read(place: Path) -> str:
    """Return the text of a client's file; an empty text for a missing file. Raises `ConfigurationError`."""
    try:
        return place.read_bytes().decode()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{place} cannot be read: {reason}", "name another file with --file") from None


def _read_upstreams(path: Path) -> Mapping[str, Any]:
    found = cast("dict[str, Any]", strict_yaml.value(path.read_text("utf-8")) or {}).get("upstreams")
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _require_development(path: Path) -> None:
    """Raise `ConfigurationError` for a gateway without development tokens: the bridge has no others."""
    if not configuration(path).is_development:
        raise ConfigurationError(
            f"{path} takes no development tokens, and the bridge has no others",
            "give the client the gateway's URL, and let it log in: docs/clients.md",
        )


def _own_program() -> list[str]:
    """Return the command of this program. A client may start it in any folder, with another path."""
    beside = Path(sys.executable).with_name("opagate")
    found = str(beside) if beside.is_file() else shutil.which("opagate")
    return [found] if found is not None else [sys.executable, "-m", "gateway"]


def _replace(place: Path, before: str, after: str, *, is_removal: bool) -> None:
    """Write a client's file, with its rights. The first connection keeps the file as it was; a removal ends that copy."""
    backup = backup_of(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        mode = place.stat().st_mode & 0o777 if place.exists() else 0o600
        if not is_removal and before and not backup.exists():
            _write(backup, before, mode)
        if after:
            _write(place, after, mode)
        else:
            place.unlink()
        if is_removal:
            backup.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{place} cannot be written: {error.strerror}", "see its folder's rights") from None


def _write(place: Path, text: str, mode: int) -> None:
    """Write a file whole or not at all. Nobody else reads it at any moment."""
    fresh = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text.encode())
        fresh.chmod(mode)
        fresh.replace(place)
    finally:
        fresh.unlink(missing_ok=True)


def _show_change(before: str, after: str, form: ListForm, place: Path) -> None:
    """Print the changed entries of the list, without the secrets in them."""
    texts: list[list[str]] = []
    for text in (before, after):
        entries = client_lists.read_list(text, form, str(place))
        written = json.dumps(entries, indent=2, ensure_ascii=False)
        for secret in _secrets_of(entries, form):
            for spelled in (secret, json.dumps(secret, ensure_ascii=False)[1:-1]):
                written = written.replace(spelled, "…") if spelled else written
        texts.append(written.splitlines())
    styles = {"+": "green", "-": "red"}
    for line in difflib.unified_diff(texts[0], texts[1], str(place), str(place), lineterm="", n=1):
        say(line, style=styles.get(line[:1], "dim"))


def _secrets_of(entries: Mapping[str, Any], form: ListForm) -> Iterator[str]:
    """Yield the likely secrets of all entries, and all headers, also of entries and headers that an import leaves out."""
    for name, entry in entries.items():
        if isinstance(entry, dict):
            given = cast("dict[str, Any]", entry)
            kept = {key: value for key, value in given.items() if key not in _SWITCHES}
            yield from importing.import_document({form.key: {name: kept}}).values.values()
            for key in ("headers", "http_headers"):
                headers = given.get(key)
                values = cast("dict[str, object]", headers).values() if isinstance(headers, dict) else ()
                yield from (value for value in values if isinstance(value, str))


def _has_agreed(place: Path) -> bool:
    if not sys.stdin.isatty():
        raise typer.BadParameter("standard input is no terminal to ask on; add --yes")
    return typer.confirm(f"Change {place}?", err=True)


def _show_clients() -> None:
    """Print the known clients, with the place and the state of their files on this machine."""
    rows = table("client", "its file", "state")
    for client in ClientName:
        place = find_file(client, os.environ)
        try:
            entries = client_lists.read_list(_read(place), _FORMS[client], str(place))
            state = "connected" if ENTRY in entries else f"{len(entries)} servers" if place.exists() else "not found"
        except ConfigurationError as error:
            state = error.message
        rows.add_row(plain(client.value), plain(str(place)), plain(state))
    show(rows)
    note("Connect one of them: opagate connect CLIENT")
