"""The start of one upstream's servers, each apart from the gateway, as the configuration says."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.config.isolation import Account, NoIsolation, Sandbox
from gateway.config.packages import find_lockable
from gateway.model.errors import ConfigurationError
from gateway.upstreams.stdio.isolation import bubblewrap, machine
from gateway.upstreams.stdio.isolation.bubblewrap import Room
from gateway.upstreams.stdio.isolation.locked import Installation
from gateway.upstreams.stdio.isolation.needs import find_needs, find_program, is_package_runner
from gateway.upstreams.stdio.isolation.view import View, ViewBuilder, follow
from gateway.upstreams.stdio.private_folder import choose_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.config import Configuration, Upstream
    from gateway.config.own_files import OwnFiles
    from gateway.config.packages import PackageLock
    from gateway.upstreams.stdio.isolation.machine import Machine
    from gateway.upstreams.stdio.isolation.system_calls import Sockets

KEPT_HOME: Final = Path("/sandbox-home")
"""The home of a server that keeps packages in it. Nothing of the machine is mounted below it."""
_SCRATCH_VARIABLES: Final = ("TMPDIR", "TEMP", "TMP")
_OWN_DEVICES: Final = ("null", "zero", "full", "random", "urandom")
_OF_LOADER: Final = frozenset({"GCONV_PATH", "GLIBC_TUNABLES", "LOCPATH", "MALLOC_TRACE"})
_READ_OR_WRITE, _PASS = 6, 1
_PROCESSES: Final = Path("/proc")
_FENCED: Final = (_PROCESSES, Path("/sys/fs/cgroup"), Path("/sys/devices/system/cpu"))
"""What a server without namespaces reads of the machine's state. Landlock keeps it from others' environment and memory."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A prepared start. `has_monitor`: the first process is not the server, and passes on its end. `scratch` is removed
    at the end."""

    command: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path | None
    has_monitor: bool = False
    scratch: Path | None = None


class Launcher:
    """The starts of one upstream. `state` holds the homes of its servers."""

    def __init__(
        self,
        name: str,
        settings: Upstream,
        own: OwnFiles,
        state: Path,
        *,
        find_machine: Callable[[], Machine] = machine.examine,
        find_packages: Callable[[str], PackageLock | None] = lambda _upstream: None,
    ) -> None:
        self.name = name
        self.settings = settings
        self._lockable = find_lockable(settings.command or ())
        self._find_packages = find_packages
        self._own = own
        self._state = state
        self._find_machine = find_machine
        self._system: View | None = None

    @property
    def installation(self) -> Installation | None:
        """The folder of the locked packages; `None` for a server without. An account of its own cannot read that folder.

        Raises `ConfigurationError` for a command that asks for others than the locked ones.
        """
        lock = None if isinstance(self.settings.isolation, Account) else self._find_packages(self.name)
        if lock is None:
            return None
        if self._lockable is None:
            raise ConfigurationError(
                f"upstreams.{self.name}.command runs no packages that can be locked, and the lock has some for it",
                f"look at the command, then: opagate catalogue pin {self.name}",
            )
        self._lockable.require_same(lock, self.name)
        return Installation(self._lockable, lock, self._state)

    @property
    def command(self) -> tuple[str, ...]:
        """The command that a start runs: the configured one, or the installed program of its locked packages."""
        found = self.installation
        return found.get_command() if found is not None and found.is_complete else self.settings.command or ()

    def install(self) -> None:
        """Install the locked packages if they are not there. This takes seconds. Raises `ConfigurationError`."""
        found = self.installation
        if found is not None:
            found.install({**os.environ, **self.settings.own_variables})

    def require(self) -> None:
        """Raise `ConfigurationError` if the configured isolation or the locked packages are not to be had."""
        _ = self.installation
        match self.settings.isolation:
            case Sandbox():
                self._require_sandbox()
            case Account() as account:
                self._require_account(account)
            case NoIsolation() as accepted:
                self._require_acceptance(accepted)

    def prepare(self, env: Mapping[str, str], given: Sequence[Path] = ()) -> Launch:
        """Prepare a start. `given` are folders of the gateway for this process.

        Raises `OSError` for a missing program or folder, and `ConfigurationError`.
        """
        self.require()
        self.install()
        view = self.find_view(env, given)
        match self.settings.isolation:
            case NoIsolation():
                return Launch(self.command, env, self.settings.cwd)
            case Account(user=user):
                return self._with_account(pwd.getpwnam(user), env)
            case Sandbox():
                if self.means.bubblewrap is not None:
                    return self._in_room(self.means.bubblewrap, view, env)
                return self._behind_fence(view, env, given)

    def find_view(self, env: Mapping[str, str], given: Sequence[Path] = ()) -> View:
        """Return the files that a server sees. Raises `OSError`, also for a missing program or folder."""
        cwd = self.settings.cwd or Path.cwd()
        cwd.stat()
        command, found = self.command, self.installation
        program = find_program(command[0], env, cwd)
        settings = self.settings
        if self._system is None:
            system = ViewBuilder(self._own)
            system.add_system(has_network=bool(settings.network))
            self._system = system.build()
        builder = ViewBuilder(self._own, self._system)
        builder.add_declared(settings.files.read, settings.files.write)
        for folder in (*given, *(() if found is None else (found.folder,))):
            builder.add_given(folder)
        if settings.cwd is not None:
            builder.add_needs([settings.cwd])
        builder.add_needs(find_needs(command, program, env, cwd, is_changeable=self._own.is_changeable))
        return builder.build()

    @property
    def means(self) -> Machine:
        return self._find_machine()

    @property
    def keeps_home(self) -> bool:
        """Return whether the server's home outlives the process: programs that fetch packages keep them there."""
        return is_package_runner(self.command[0])

    # --- the ways --------------------------------------------------------------------------------------

    def _in_room(self, program: str, view: View, env: Mapping[str, str]) -> Launch:
        """Prepare a start in a sandbox of namespaces."""
        kept_home = self._make_home() if self.keeps_home else None
        home = follow(Path(env.get("HOME") or "/"))[0] if kept_home is None else KEPT_HOME
        shown = replace(view, read=(*view.read, *_beyond(view, machine.launcher_files())))
        cwd = follow(self.settings.cwd or Path.cwd())[0]
        is_counted = self.means.is_counted
        room = Room(shown, home, cwd, kept_home, bool(self.settings.network), is_counted)
        counted = ("most", str(self.settings.process_limits.processes)) if is_counted else ()
        # Only what the sandbox shows can be listed there.
        listed = (Path("/"),)
        fenced = self._list_fenced((*view.read, _PROCESSES), bubblewrap.list_written(room), listed)
        kept, later = _split_environment(env)
        confined = (*fenced, *counted, *self._list_limits("limit"), *_filter_of("all"), *later)
        own = {name: value for name, value in kept.items() if name not in _SCRATCH_VARIABLES}
        command = (*bubblewrap.arrange(program, room), *machine.LAUNCH, *confined, "--", *self.command)
        return Launch(command, {**own, "HOME": str(home)}, None, has_monitor=True)

    def _behind_fence(self, view: View, env: Mapping[str, str], given: Sequence[Path]) -> Launch:
        """Prepare a start without namespaces: Landlock and seccomp alone."""
        scratch = self._state / "scratch" / secrets.token_hex(8)
        scratch.mkdir(mode=0o700, parents=True)
        home = self._make_home() if self.keeps_home else scratch
        devices = tuple(Path("/dev") / name for name in _OWN_DEVICES)
        read = (*view.read, *_FENCED, *given)
        fenced = self._list_fenced(read, (*devices, scratch, home, *view.write), view.listed)
        sockets: Sockets = "network" if self.settings.network else "none"
        limits = (*self._list_limits("beside"), "tied", "yes")
        kept, later = _split_environment(env)
        command = (*machine.LAUNCH, *fenced, *limits, *_filter_of(sockets), *later, "--", *self.command)
        own = {"HOME": str(home), **dict.fromkeys(_SCRATCH_VARIABLES, str(scratch))}
        return Launch(command, {**kept, **own}, self.settings.cwd, scratch=scratch)

    def _with_account(self, account: pwd.struct_passwd, env: Mapping[str, str]) -> Launch:
        """Prepare a start under another account."""
        user = f"{account.pw_uid}:{account.pw_gid}"
        kept, later = _split_environment(env)
        confined = ("user", user, "tied", "yes", *self._list_limits("limit"), *_filter_of("all"), *later)
        own = {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
        return Launch((*machine.LAUNCH, *confined, "--", *self.command), {**kept, **own}, self.settings.cwd)

    def _list_fenced(self, read: Sequence[Path], write: Sequence[Path], listed: Sequence[Path]) -> tuple[str, ...]:
        ports = () if isinstance(self.settings.network, bool) else self.settings.network
        options = [("read", path) for path in read] + [("write", path) for path in write]
        options += [("list", path) for path in listed]
        return tuple(str(part) for option in (*options, *(("port", port) for port in ports)) for part in option)

    def _list_limits(self, processes: str) -> tuple[str, ...]:
        limits = self.settings.process_limits
        counted = str(limits.processes) if processes == "beside" else f"processes:{limits.processes}"
        return ("limit", f"memory:{limits.memory}", "limit", f"files:{limits.files}", processes, counted)

    def _make_home(self) -> Path:
        home = self._state / "homes" / self.name
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return home

    # --- conditions ------------------------------------------------------------------------------------

    def _require_sandbox(self) -> None:
        found = self.means
        if not found.may_sandbox:
            raise ConfigurationError(
                f"upstream {self.name} cannot be kept apart from the gateway: {found.problem}",
                "install bubblewrap and permit user namespaces, or run Linux 6.12 or newer for Landlock alone;"
                f" else accept it by name: upstreams.{self.name}.isolation, docs/isolation.md",
            )
        if not isinstance(self.settings.network, bool) and found.landlock < machine.PORTS_SINCE:
            raise ConfigurationError(
                f"upstream {self.name} cannot be bound to ports: this kernel's Landlock has no rules for ports",
                f"run Linux 6.7 or newer, or write upstreams.{self.name}.network: true",
            )

    def _require_account(self, wanted: Account) -> None:
        where = f"upstreams.{self.name}.isolation.user"
        try:
            account = pwd.getpwnam(wanted.user)
        except KeyError:
            raise ConfigurationError(f"{where}: there is no account {wanted.user}", "make it with useradd") from None
        if account.pw_uid in {0, os.geteuid()}:
            raise ConfigurationError(
                f"{where}: {wanted.user} is the superuser or the gateway's own account", "name an account of its own"
            )
        if not machine.may_change_accounts():
            raise ConfigurationError(
                f"{where}: the gateway may not start processes of another account",
                "run it as root or with CAP_SETUID, CAP_SETGID and CAP_KILL, or write isolation: sandbox",
            )
        opened = next((path for path in (self._state, *self._own.hidden) if may_use(account, path)), None)
        if opened is not None:
            raise ConfigurationError(
                f"{where}: the account {wanted.user} can use {opened}, which is the gateway's own",
                f"take the rights of others from it: chmod go-rwx {opened}",
            )

    def _require_acceptance(self, accepted: NoIsolation) -> None:
        if accepted.until < datetime.now(UTC).date():
            raise ConfigurationError(
                f"upstream {self.name} runs without isolation, which {accepted.accepted_by} accepted until {accepted.until}",
                f"write isolation: sandbox, or have a person accept it anew: upstreams.{self.name}.isolation",
            )


def build_launchers(
    configuration: Configuration, find_packages: Callable[[str], PackageLock | None]
) -> dict[str, Launcher]:
    """Return a launcher for each stdio upstream of a configuration. `find_packages` gives the locked packages of one."""
    own = configuration.own_files.hide(choose_folder(configuration.state)[0])
    return {
        name: Launcher(name, settings, own, configuration.state, find_packages=find_packages)
        for name, settings in configuration.upstreams.items()
        if settings.command is not None
    }


def may_use(account: pwd.struct_passwd, path: Path) -> bool:
    """Return whether an account can read or write an existing path, by the modes of it and of the folders above."""
    try:
        found = [each.stat() for each in (path, *path.resolve().parents)]
    except OSError:
        return False
    return _has_right(account, found[0], _READ_OR_WRITE) and all(_has_right(account, each, _PASS) for each in found[1:])


def _has_right(account: pwd.struct_passwd, found: os.stat_result, right: int) -> bool:
    shift = 6 if found.st_uid == account.pw_uid else 3 if found.st_gid == account.pw_gid else 0
    return bool(found.st_mode >> shift & right)


def clean(state: Path) -> None:
    """Remove the scratch folders of an earlier gateway, such as a killed gateway."""
    shutil.rmtree(state / "scratch", ignore_errors=True)


def _split_environment(env: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the variables for all processes, and the launcher's options for those of the loader of programs.

    The loader would take code of a server's folder into the processes that build the sandbox, outside of it.
    """
    later = {name: value for name, value in env.items() if name.startswith("LD_") or name in _OF_LOADER}
    kept = {name: value for name, value in env.items() if name not in later}
    return kept, tuple(part for name, value in later.items() for part in ("set", f"{name}={value}"))


def _beyond(view: View, paths: Sequence[Path]) -> tuple[Path, ...]:
    """Return the paths that a view does not show yet."""
    shown = (*view.read, *view.write)
    return tuple(path for path in paths if not any(path.is_relative_to(each) for each in shown))


def _filter_of(sockets: Sockets) -> tuple[str, ...]:
    found = machine.get_filter(sockets)
    return () if found is None else ("filter", found.hex())
