"""The gateway's own files: no stdio server may read its keys and settings, and none may write what the gateway trusts."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from pydantic import BaseModel, Field

from gateway.config.values import FilePath, FileSecret, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.config.isolation import FileAccess

_PUBLIC: Final = frozenset({"ca", "client_ca", "certificate"})
"""Settings whose files everybody may read, and only the operator may write."""
_ROTATED: Final = frozenset({"chain", "client_file", "sealing", "sessions", "tokens"})
"""Settings with a file beside which earlier ones are kept, such as keys."""
_OF_SERVERS: Final = frozenset({"cwd", "files", "command", "variables"})
"""Settings of an upstream whose files are the server's."""
_PACKAGE: Final = Path(__file__).resolve().parents[1]
PROGRAM_FILES: Final = (Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), _PACKAGE, _PACKAGE.parent / "rego")
"""The gateway's program, and the policy that ships with it. No server may write there."""


class KeySettings(Settings):
    """Files of the gateway's keys. A key given here is never made; the others are made below `state`.

    An earlier key is in a file beside the present one, as `NAME.1`; the highest number is the latest of them.
    """

    chain: FilePath | None = Field(
        default=None, description="Links the journal. Each gateway has its own; by default `<state>/journal-key`."
    )
    sealing: FilePath | None = Field(
        default=None,
        description="Seals the durable records and snapshots of history; by default `<state>/sealing-key`.",
    )
    sessions: FilePath | None = Field(default=None, description="Seals session ids; by default `<state>/sessions-key`.")
    fingerprints: FilePath | None = Field(
        default=None, description="Digests arguments, words and credentials; by default `<state>/fingerprints-key`."
    )
    tokens: FilePath | None = Field(
        default=None, description="Signs task tokens: P-256 in PEM; by default `<state>/gateway-key.pem`."
    )


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """Resolved paths. `hidden` are neither read nor written by servers, `trusted` are not written.

    `changeable` are the folders that servers may write. Links and programs in there can lead anywhere at the next start.
    """

    hidden: tuple[Path, ...] = ()
    trusted: tuple[Path, ...] = ()
    changeable: tuple[Path, ...] = ()

    def overlap_of_reading(self, path: Path) -> Path | None:
        """Return the own file that a resolved path holds or lies in."""
        return _first_overlap(path, self.hidden)

    def overlap_of_writing(self, path: Path) -> Path | None:
        """Return the own or trusted file that a resolved path holds or lies in."""
        return _first_overlap(path, (*self.hidden, *self.trusted))

    def is_changeable(self, path: Path) -> bool:
        """Return whether a server may have put this path, or a link to it, into its folder."""
        return any(each in path.parents for each in self.changeable)

    def hide(self, *paths: Path) -> OwnFiles:
        """Return own files with further hidden ones."""
        return replace(self, hidden=(*self.hidden, *(path.resolve() for path in paths)))


def find_own_files(settings: BaseModel, source: Path | None, access: Iterable[FileAccess]) -> OwnFiles:
    """Return the own files of a configuration, each path in it, and its own file `source`. `access` is of servers."""
    hidden: set[Path] = set() if source is None else {source.resolve()}
    trusted = set(PROGRAM_FILES)
    for name, path in _list_paths(settings):
        (trusted if name in _PUBLIC else hidden).add(path.resolve())
        if name in _ROTATED:
            places = {path.absolute(), path.resolve()}
            hidden.update(each.resolve() for place in places for each in place.parent.glob(f"{place.name}.*"))
    changeable = {path.resolve() for files in access for path in files.write}
    return OwnFiles(tuple(sorted(hidden)), tuple(sorted(trusted)), tuple(sorted(changeable)))


def find_overlap(name: str, files: FileAccess, own: OwnFiles) -> str | None:
    """Return the problem of an upstream's declared files that overlap the gateway's own."""
    for way, paths, overlap in (
        ("read", files.read, own.overlap_of_reading),
        ("write", files.write, own.overlap_of_writing),
    ):
        for path in paths:
            met = overlap(path.resolve())
            if met is not None:
                return (
                    f"upstreams.{name}.files.{way}: {path} overlaps {met}, which is the gateway's own;"
                    " move the server's files to a folder apart from the gateway's"
                )
    return None


def find_nested(access: Mapping[str, FileAccess]) -> str | None:
    """Return the problem of a declared path inside a folder that a server may write.

    The server could put a link to any file of the machine in the place of that path.
    """
    for name, files in access.items():
        for outer in files.write:
            for other, declared in access.items():
                for path in (*declared.read, *declared.write):
                    if outer.resolve() in path.absolute().parents or outer.resolve() in path.resolve().parents:
                        return (
                            f"upstreams.{other}.files: {path} lies in {outer}, which upstream {name} may write;"
                            f" declare {outer} itself, or a folder outside of it"
                        )
    return None


def _first_overlap(path: Path, own: Iterable[Path]) -> Path | None:
    return next((each for each in own if path == each or path in each.parents or each in path.parents), None)


def _list_paths(value: object, name: str = "") -> Iterator[tuple[str, Path]]:
    """Yield each path in settings, with the name of its setting."""
    match value:
        case FileSecret():
            yield name, value.path
        case Path():
            yield name, value
        case str() if value.startswith(("file:/", "unix:///")):
            yield name, Path(value.removeprefix("file:").removeprefix("unix://"))
        case BaseModel():
            for key in type(value).model_fields:
                if key not in _OF_SERVERS:
                    yield from _list_paths(getattr(value, key), key)
        case dict() | tuple():
            held = cast("dict[object, object] | tuple[object, ...]", value)
            for item in held.values() if isinstance(held, dict) else held:
                yield from _list_paths(item, name)
        case _:
            return
