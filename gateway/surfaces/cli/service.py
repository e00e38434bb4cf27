"""`opagate init service`: the gateway as a service of systemd."""

from __future__ import annotations

import difflib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.surfaces.cli.options import NAME
from gateway.surfaces.cli.terminal import line, note, say

FILE: Final = "opagate.service"
_SYSTEM: Final = Path("/etc/systemd/system")
_NAME_OF_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,254}")
"""Nothing that begins a specifier or another line of the unit."""


@dataclass(frozen=True)
class Service:
    """The choices in a unit. `account` is `None` for a unit of a user's own manager."""

    program: Path
    configuration: Path
    account: str | None
    credentials: tuple[tuple[str, Path], ...] = ()


_UNIT: Final = """\
# Written by `opagate init service`; `systemctl edit opagate` keeps changes of your own apart.
[Unit]
Description=opagate, a gateway for MCP tools
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
ExecStart={program} up --config {configuration}
# The gateway looks at its configuration, grants and certificates at once.
ExecReload=/bin/kill -HUP $MAINPID
# The gateway tells how long a stop may take: limits.drain_delay, limits.drain and 15 seconds.
TimeoutStartSec=300
# Its servers on stdio end with their calls, not before.
KillMode=mixed
Restart=on-failure
RestartSec=2
LimitNOFILE=65536
LimitCORE=0
OOMPolicy=continue
"""
_OF_SYSTEM: Final = """
User={account}
Group={account}
StateDirectory=opagate
StateDirectoryMode=0700
RuntimeDirectory=opagate
RuntimeDirectoryMode=0750

ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelModules=yes
CapabilityBoundingSet=
AmbientCapabilities=
UMask=0077
"""
_HARDENING: Final = """
# Not here: ProtectProc=, ProtectKernelTunables=, RestrictNamespaces= and MemoryDenyWriteExecute=. They would take away the
# sandbox of servers on stdio, and the compilers inside of such servers.
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service @mount
SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp
SystemCallErrorNumber=EPERM

[Install]
WantedBy={target}
"""
_CREDENTIALS: Final = """
# The gateway reads them at ${{CREDENTIALS_DIRECTORY}}/NAME; no other account does.
"""


def unit(service: Service) -> str:
    """Return the text of the unit."""
    of_user = service.account is None
    # systemd takes the rest of this line as the path, and quotes would belong to it.
    loaded = "".join(f"LoadCredential={name}:{_path(str(path))}\n" for name, path in service.credentials)
    parts = (
        _UNIT,
        *(() if of_user else (_OF_SYSTEM,)),
        *((_CREDENTIALS, loaded.replace("{", "{{").replace("}", "}}")) if loaded else ()),
        _HARDENING,
    )
    return "".join(parts).format(
        program=_word(str(service.program)),
        configuration=_word(str(service.configuration)),
        account=service.account,
        target="default.target" if of_user else "multi-user.target",
    )


def _word(text: str) -> str:
    """Return a path as a word of systemd: a space ends a word. Raise `typer.BadParameter`."""
    path = _path(text)
    return f'"{path}"' if " " in path else path


def _path(text: str) -> str:
    """Return a path as systemd reads it: `%` begins a specifier. Raise `typer.BadParameter`."""
    if not text.isprintable() or any(character in text for character in "\\\"'$"):
        raise typer.BadParameter(f"{text!r} has a character that a unit cannot hold; choose another path")
    return text.replace("%", "%%")


def _account(name: str) -> str:
    if _NAME_OF_ACCOUNT.fullmatch(name) is None:
        raise typer.BadParameter(f"{name!r} is no name of an account; use letters, digits, `_`, `-`, `.` and `@`")
    return name


def service(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The configuration to serve.")] = NAME,
    user: Annotated[
        bool, typer.Option("--user", help="A unit of your own manager, in the place of the system's.")
    ] = False,
    account: Annotated[str, typer.Option(metavar="NAME", help="The account that the gateway runs as.")] = "opagate",
    credential: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="A key or secret: `${CREDENTIALS_DIRECTORY}/NAME` in the configuration. Repeatable.",
        ),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the unit.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without a question.")] = False,
) -> None:
    """Write a unit of systemd that runs the gateway, or remove the unit, after showing the difference.

    The command starts and stops nothing.
    """
    target = _folder(user=user) / FILE
    before = _read(target)
    after = (
        ""
        if remove
        else unit(
            Service(
                _program(),
                _configuration(config),
                None if user else _account(account),
                tuple(map(_pair, credential or ())),
            )
        )
    )
    if before == after:
        note(f"{target} is {'not there' if remove else 'as it should be'}; nothing to do")
        return
    for row in difflib.unified_diff(before.splitlines(), after.splitlines(), str(target), str(target), lineterm=""):
        line(row)
    if not yes and not typer.confirm(f"{'Remove' if remove else 'Write'} {target}?", err=True):
        raise typer.Exit(1)
    _write(target, after)
    manager = f"systemctl{' --user' if user else ''}"
    say(f"{'removed' if remove else 'wrote'} {target}")
    note(f"next: {manager} daemon-reload" + ("" if remove else f" && {manager} enable --now {FILE}"))
    if remove:
        note(f"a gateway that runs goes on until `{manager} stop {FILE}`")


def _folder(*, user: bool) -> Path:
    if not user:
        return _SYSTEM
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "systemd/user"


def _program() -> Path:
    """Return the command that runs now, beside its interpreter."""
    beside = Path(sys.executable).with_name("opagate")
    return beside if beside.exists() else Path(sys.argv[0]).absolute()


def _configuration(path: Path) -> Path:
    from gateway.model.errors import ConfigurationError

    if not path.exists():
        raise ConfigurationError(f"there is no configuration file {path}", "write one with `opagate init`")
    return path.absolute()


def _pair(text: str) -> tuple[str, Path]:
    name, found, path = text.partition("=")
    is_name = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    if not found or not is_name or not path.startswith("/"):
        raise typer.BadParameter(f"{text!r} is no credential; write it like chain=/etc/opagate/credentials/chain")
    return name, Path(path)


def _read(path: Path) -> str:
    from gateway.model.errors import ConfigurationError

    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}", "look at the file") from None


def _write(path: Path, text: str) -> None:
    from gateway.model.errors import ConfigurationError

    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if not text:
            path.unlink()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(text, "utf-8")
        fresh.chmod(0o644)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise ConfigurationError(
            f"{path} cannot be changed: {error.strerror}", "run the command with sudo, or with --user"
        ) from None
