"""The files that a sandboxed server sees: parts of the machine's own, at their own paths, and none of the gateway's."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.upstreams.stdio.isolation.needs import VISIBLE_PARTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.config.own_files import OwnFiles

SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")
_SETTINGS: Final = (
    "alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies", "debian_version", "fonts", "gai.conf",
    "gitattributes", "gitconfig", "group", "host.conf", "hosts", "inputrc", "java", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
    "locale.alias", "locale.conf", "localtime", "magic", "mime.types", "nsswitch.conf", "openssl", "os-release", "passwd", "pki",
    "protocols", "python3", "rpc", "services", "shells", "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone",
)  # fmt: skip
"""What programs read of `/etc`. The rest of it holds the settings and secrets of others."""
_OF_NETWORK: Final = ("resolv.conf",)
_BROAD: Final = (
    "/", "/boot", "/dev", "/dev/shm", "/etc", "/home", "/media", "/mnt", "/opt", "/proc", "/root", "/run",  # noqa: S108 - named to be kept away
    "/run/user", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib", "/var/tmp", "/Users",  # noqa: S108 - the same
)  # fmt: skip
"""Folders of many owners. A command that names one of these opens nothing; `files` does."""
_CLOSED: Final = ("dev", "proc", "sys")
_MOST_PARTS: Final = 4096
_MOST_LINKS: Final = 40


@dataclass(frozen=True, slots=True)
class View:
    """The files of the machine that a sandbox shows: paths to read, paths to write, and links to both.

    All paths are resolved. A folder in `listed` is shown in part. A command named the `withheld` paths, and does not see them.
    """

    read: tuple[Path, ...]
    write: tuple[Path, ...]
    links: tuple[tuple[Path, str], ...]
    listed: tuple[Path, ...] = ()
    withheld: tuple[Path, ...] = ()


NOTHING: Final = View((), (), ())


class ViewBuilder:
    """A collection of paths, begun with a view. `own` are the gateway's own files."""

    def __init__(self, own: OwnFiles, base: View = NOTHING) -> None:
        self._own = own
        self._own_folders = frozenset(own.hidden)
        self._above_own = frozenset(parent for path in own.hidden for parent in path.parents)
        broad = {*map(Path, _BROAD), *find_homes()}
        self._open = broad.union(*(path.parents for path in broad))
        self._read = dict.fromkeys(base.read)
        self._write = dict.fromkeys(base.write)
        self._links = dict(base.links)
        self._listed = dict.fromkeys(base.listed)
        self._withheld: dict[Path, None] = {}

    def add_system(self, *, has_network: bool) -> None:
        """Add programs, libraries and settings of the machine that hold no secret."""
        names = _SETTINGS + (_OF_NETWORK if has_network else ())
        for path in (*map(Path, SYSTEM), *(Path("/etc") / name for name in names)):
            self._add_parts(path)

    def add_needs(self, paths: Iterable[Path]) -> None:
        """Add what a command names. Folders of many owners, and the gateway's own files, are withheld."""
        for need in paths:
            in_parts = need.name == VISIBLE_PARTS
            path = need.parent if in_parts else need
            real, links = follow(path)
            is_shown = not self._is_open(real) and not self._leads_through_changeable(real, links)
            if (
                not (is_shown and self._add_parts(path, in_parts=in_parts))
                and real.exists()
                and not self._is_within_shown(real)
            ):
                self._withheld[path] = None

    def add_declared(self, read: Iterable[Path], write: Iterable[Path]) -> None:
        """Add what the operator declares. Raise `PermissionError` for the gateway's own, `OSError` for a missing path.

        Links may have changed since the configuration was read.
        """
        for paths, overlap, into in (
            (read, self._own.overlap_of_reading, self._read),
            (write, self._own.overlap_of_writing, self._write),
        ):
            for path in paths:
                real, links = follow(path)
                real.stat()
                if overlap(real) is not None:
                    raise PermissionError(f"{path} leads to {real}, which overlaps the gateway's own files")
                if self._leads_through_changeable(real, links):
                    raise PermissionError(f"{path} leads through a folder that a server may write")
                into[real] = None
                self._links.update(links)

    def add_given(self, path: Path) -> None:
        """Add a folder that the gateway made for this server."""
        self._read[path.resolve()] = None

    def build(self) -> View:
        """Return the view. A path inside another of the same kind is left out."""
        write = _outermost(self._write, ())
        read = _outermost(self._read, write)
        shown = {*read, *write}
        links = {link: to for link, to in self._links.items() if shown.isdisjoint(link.parents)}
        listed = tuple(path for path in self._listed if shown.isdisjoint((path, *path.parents)))
        return View(read, write, tuple(sorted(links.items())), listed, tuple(self._withheld))

    def _is_open(self, real: Path) -> bool:
        """Return whether a folder has many owners, or shows the state of the machine."""
        return real in self._open or real.parts[1] in _CLOSED

    def _leads_through_changeable(self, real: Path, links: Iterable[Path]) -> bool:
        return any(self._own.is_changeable(path) for path in (real, *links))

    def _is_within_shown(self, real: Path) -> bool:
        shown = {*self._read, *self._write}
        return not shown.isdisjoint((real, *real.parents))

    def _add_parts(self, path: Path, *, in_parts: bool = False) -> bool:
        """Add a path without the gateway's own files. Return whether anything of it is shown."""
        real, links = follow(path)
        parts = tuple(self._list_parts(real, in_parts=in_parts))
        self._read.update(dict.fromkeys(parts))
        if parts:
            self._links.update(links)
        return bool(parts)

    def _list_parts(self, path: Path, *, in_parts: bool = False) -> Iterator[Path]:
        """Yield a path, or the parts of a folder that holds own files. Its hidden parts stay hidden: `.env` is one.

        A cover over each own file would not do: the cover goes when the file is replaced.
        """
        if not path.exists() or not self._own_folders.isdisjoint((path, *path.parents)):
            return
        if path not in self._above_own and not in_parts:
            yield path
            return
        self._listed[path] = None
        with suppress(OSError):
            for name in sorted(os.listdir(path))[:_MOST_PARTS]:  # noqa: PTH208 - names, of which few are used
                part = path / name
                if not name.startswith(".") and part.is_symlink():
                    self._links[part] = str(part.readlink())
                elif not name.startswith("."):
                    yield from self._list_parts(part)


def find_homes() -> Iterator[Path]:
    """Yield the homes of people and of this account."""
    yield Path.home()
    with suppress(KeyError):
        yield Path(pwd.getpwuid(os.geteuid()).pw_dir)
    for parent in ("/home", "/Users"):
        with suppress(OSError):
            yield from Path(parent).iterdir()


def follow(path: Path) -> tuple[Path, dict[Path, str]]:
    """Return the real path of a path, and each link on the way with its text. Both lead to the same file in a sandbox."""
    links: dict[Path, str] = {}
    real, ahead, followed = Path("/"), list(reversed(path.absolute().parts[1:])), 0
    while ahead and followed <= _MOST_LINKS:
        name = ahead.pop()
        if name == "..":
            real = real.parent
            continue
        step = real / name
        try:
            text = str(step.readlink())
        except OSError:
            real = step
            continue
        links[step] = text
        followed += 1
        parts = Path(text).parts
        if text.startswith("/"):
            real, parts = Path("/"), parts[1:]
        ahead += reversed([part for part in parts if part != "."])
    return real, links


def _outermost(paths: Iterable[Path], others: Iterable[Path]) -> tuple[Path, ...]:
    outer = {*paths, *others}
    return tuple(
        sorted(path for path in paths if path not in others and not any(parent in outer for parent in path.parents))
    )
