"""A copy of a gateway's state, also of a running one, and its return.

    DIR/manifest.json     the form, the release, the ids of the keys, each file with its digest, and a MAC; written last
    DIR/state/…           durable records (also those of PostgreSQL) and snapshots, each in a file of SQLite as of one moment
    DIR/journal/…         segments; the last one up to a whole line
    DIR/catalogue.lock    the pins
    DIR/keys/…            the keys with `with_keys`

The journal is copied last, so it has all that the records rest on. Restored approvals are withdrawn at the next start: each
may have been used after the copy.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import shutil
import sqlite3
import time
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.base.keys.key_ring import key_id, subkey
from gateway.base.store.sqlite import SqliteStore, read_form
from gateway.config import keys
from gateway.model.errors import ConfigurationError, GatewayError, JournalError, StoreError
from gateway.record.journal import storage, verification
from gateway.record.journal.chain import timestamp
from gateway.record.journal.compression import SUFFIX
from gateway.surfaces.stored.check import read_present_keys
from gateway.surfaces.stored.holding import require_owner
from gateway.surfaces.stored.opening import copy_records, look_at_records, require_moved
from gateway.surfaces.stored.workers import has_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from gateway.config import Configuration

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
"""The form of a copy."""
RESTORED: Final = "restored.json"
"""A file in the state folder: the state came from a copy, and no gateway has started on it."""
_DATABASES: Final = (keys.RECORDS, f"{keys.SNAPSHOTS}/tasks.db")
_WAIT: Final = 30.0
"""Seconds for a running pruning or compression of the journal."""
_BLOCK: Final = 2**20
_NEEDED: Final[tuple[keys.Name, ...]] = ("chain", "sealing", "fingerprints")
_PURPOSE: Final = "copy of the state"


class CopiedFile(Struct, frozen=True):
    """A file of a copy."""

    path: str
    size: int
    sha256: str


class Manifest(Struct, frozen=True):
    """The contents of a copy. `ids` names the newest keys by purpose, and `has_keys` whether the copy has them.

    `mac` is a MAC of the other members in hex, under a key derived from the key `chain`. Without it, whoever can write to
    a copy could leave out a stop, or add a key of their own.
    """

    format: int
    release: str
    made: str
    ids: dict[keys.Name, str]
    has_keys: bool
    files: tuple[CopiedFile, ...]
    mac: str = ""


class RestoredState(Struct, frozen=True):
    """The mark of a state that came from a copy of the time `made`. No gateway has started on the state."""

    made: str
    is_whole: bool = True
    format: int = FORMAT


async def back_up(configuration: Configuration, target: Path, *, with_keys: bool, now: float) -> Manifest:
    """Copy the state of a gateway to a new folder. Raises `GatewayError` and `OSError`: then the folder has no manifest."""
    found = _begin_copy(configuration, target)
    if configuration.store is not None:
        await _copy_from_database(configuration, target / "state" / keys.RECORDS)
    _copy_files(configuration, target, with_keys=with_keys)
    ids: dict[keys.Name, str] = {name: key_id(found[name][0]) for name in _NEEDED if name in found}
    manifest = Manifest(FORMAT, version("opagate"), timestamp(now), ids, with_keys, _describe_all(target))
    manifest = replace(manifest, mac=_compute_mac(manifest, found["chain"][0]))
    _write(target / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def _begin_copy(configuration: Configuration, target: Path) -> dict[keys.Name, tuple[bytes, ...]]:
    """Make the folder of a copy. Return the keys of the gateway."""
    require_owner(configuration.state)
    if has_workers(configuration):
        raise ConfigurationError(
            "the gateway has workers, and this copy would lack their journals and their database",
            "stop it, and copy the folders of `state` and `journal.path` whole",
        )
    if target.exists() and any(target.iterdir()):
        raise ConfigurationError(f"{target} is not empty", "name a new folder")
    found = read_present_keys(configuration)
    if "chain" not in found:
        raise ConfigurationError(f"{configuration.state} has no state yet", "start the gateway once")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    return found


def _copy_files(configuration: Configuration, target: Path, *, with_keys: bool) -> None:
    """Copy the files of a state: databases, journal, pins and wanted keys."""
    for name in _DATABASES:
        _copy_database(configuration.state / name, target / "state" / name)
    with _hold_segments(configuration.journal.path):
        _copy_journal(configuration.journal.path, target / "journal")
    if configuration.catalogue.lock.exists():
        _copy(configuration.catalogue.lock, target / "catalogue.lock")
    if with_keys:
        for name, path in _list_keys(configuration):
            _copy(path, target / "keys" / name)


def _describe_all(target: Path) -> tuple[CopiedFile, ...]:
    return tuple(_describe(target, path) for path in sorted(target.rglob("*")) if path.is_file())


def restore(configuration: Configuration, source: Path) -> Manifest:
    """Put a copy in the place of a state that is not there. Nothing is overwritten.

    Raises `GatewayError` and `OSError`. The caller keeps gateways from starting meanwhile.
    """
    manifest = read_copy(source)
    _require_vacant(configuration)
    if keys.read_chain(configuration) is not None:
        _require_own(configuration, manifest)
    fresh = _restore_keys(configuration, source, manifest)
    try:
        _require_keys(configuration, manifest)
        _require_own(configuration, manifest)
    except GatewayError:
        for each in fresh:
            each.unlink()
        raise
    mark = configuration.state / RESTORED
    _write(mark, msgspec.json.encode(RestoredState(manifest.made, is_whole=False)))
    for each in manifest.files:
        target = _find_target(configuration, each.path)
        if target is not None and not target.exists():
            _copy(source / each.path, target)
    _write(mark, msgspec.json.encode(RestoredState(manifest.made)))
    return manifest


def read_restored(state: Path) -> RestoredState | None:
    """Return the mark of a restored state, `None` for any other. Raises `StoreError` after a restore that did not end."""
    try:
        found = msgspec.json.decode((state / RESTORED).read_bytes(), type=RestoredState)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise StoreError(f"{state / RESTORED} cannot be read: {error}", "restore the state again") from error
    if not found.is_whole:
        raise StoreError(
            f"the restore of {state} did not end", "remove the state's and the journal's files, and restore again"
        )
    return found


def forget_restored(state: Path) -> None:
    """Remove the mark of a restored state."""
    (state / RESTORED).unlink(missing_ok=True)


def _find_target(configuration: Configuration, path: str) -> Path | None:
    """Return the place of a copied file, `None` for a file that no restore writes. A copy names no other places."""
    match path.split("/", 1):
        case ["state", name] if name in _DATABASES:
            return configuration.state / name
        case ["journal", name] if name == verification.FLOOR_FILE or storage.is_segment(name):
            return configuration.journal.path / name
        case ["catalogue.lock"]:
            return configuration.catalogue.lock
        case _:
            return None


def read_copy(source: Path) -> Manifest:
    """Return the manifest of a whole and unchanged copy. Raises `ConfigurationError`."""
    try:
        content = (source / MANIFEST).read_bytes()
        form = msgspec.json.decode(content, type=dict[str, object]).get("format")
        if form != FORMAT:
            raise ConfigurationError(
                f"{source} has form {form}, and this release reads form {FORMAT}", "use that release"
            )
        manifest = msgspec.json.decode(content, type=Manifest)
    except FileNotFoundError:
        raise ConfigurationError(
            f"{source} has no {MANIFEST}: it is no copy, or was not finished",
            "name a folder of `opagate journal state backup`",
        ) from None
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{source / MANIFEST} cannot be read: {error}", "use another copy") from error
    for each in manifest.files:
        path = source / each.path
        if not path.is_file() or _describe(source, path) != each:
            raise ConfigurationError(f"{path} is not as it was copied", "use another copy")
    return manifest


def _require_vacant(configuration: Configuration) -> None:
    taken = [path for name in _DATABASES if (path := configuration.state / name).exists()]
    if storage.has_begun(configuration.journal.path):
        taken.append(configuration.journal.path)
    if taken:
        raise StoreError(
            f"there is a state already: {taken[0]}", "move it away, or name another state folder and journal"
        )


def _compute_mac(manifest: Manifest, chain: bytes) -> str:
    content = msgspec.json.encode(replace(manifest, mac=""))
    return hmac.digest(subkey(chain, _PURPOSE), content, "sha256").hex()


def _require_own(configuration: Configuration, manifest: Manifest) -> None:
    """Refuse a copy that no key of this journal was used for, or that was changed."""
    chain = keys.read_chain(configuration) or ()
    if not any(hmac.compare_digest(_compute_mac(manifest, each).encode(), manifest.mac.encode()) for each in chain):
        raise StoreError(
            "the copy was changed, or belongs to another gateway: its MAC is not of the key "
            f"{keys.find_file(configuration, 'chain').path}",
            "use another copy, or put the key chain of the copy's gateway there",
        )


def _require_keys(configuration: Configuration, manifest: Manifest) -> None:
    """Refuse a copy whose keys are not there. Each may also be an earlier key by now."""
    found = keys.read_keys(configuration, begun=False)
    for name, identifier in manifest.ids.items():
        if identifier not in map(key_id, found.get(name, ())):
            raise StoreError(
                f"the copy needs the key {name} with the id {identifier}: {keys.find_file(configuration, name).path}",
                "put that key there first; a copy made with --with-keys has its keys",
            )


def _list_keys(configuration: Configuration) -> Iterator[tuple[str, Path]]:
    """Yield the files of all keys, each with its name in a copy."""
    for name, file_name in keys.FILES.items():
        file = keys.find_file(configuration, name)
        if file.path.exists():
            yield file_name, file.path
        for each in file.find_earlier():
            yield file_name + each.path.suffix, each.path


def _restore_keys(configuration: Configuration, source: Path, manifest: Manifest) -> list[Path]:
    """Put the copy's keys in their places. Return the written files. A key that is there has to be the same."""
    fresh: list[Path] = []
    for each in manifest.files if manifest.has_keys else ():
        target = _find_key_file(configuration, each.path)
        if target is None:
            continue
        if not target.exists():
            _copy(source / each.path, target)
            fresh.append(target)
        elif target.read_bytes() != (source / each.path).read_bytes():
            raise StoreError(f"{target} is another key than that of the copy", "move it away, or restore elsewhere")
    return fresh


def _find_key_file(configuration: Configuration, path: str) -> Path | None:
    """Return the place of a key of a copy, `None` for another file. An earlier key has a number behind its name."""
    for name, file_name in keys.FILES.items():
        if found := re.fullmatch(rf"keys/{re.escape(file_name)}(\.[0-9]+)?", path):
            place = keys.find_file(configuration, name).path
            return place.with_name(place.name + (found[1] or ""))
    return None


async def _copy_from_database(configuration: Configuration, target: Path) -> None:
    """Copy the records of a database to a file, as of one moment. Raises `ConfigurationError` and `StoreError`."""
    require_moved(configuration)
    with closing(look_at_records(configuration)) as source, closing(SqliteStore(target)) as copy:
        await copy_records(source, copy)
    _sync(target)


def _copy_database(source: Path, target: Path) -> None:
    """Copy an SQLite file as of one moment, also while a gateway writes to it. Raises `StoreError`."""
    if not source.exists():
        return
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True, timeout=5)) as original,
            closing(sqlite3.connect(target)) as copy,
        ):
            original.backup(copy)
            copy.execute("pragma journal_mode = delete")
    except sqlite3.Error as error:
        raise StoreError(f"{source} cannot be copied: {error}", "see that the disk has room") from error
    read_form(target)
    _sync(target)


@contextmanager
def _hold_segments(folder: Path) -> Generator[None]:
    """Keep segments from being compressed or pruned meanwhile. Raises `JournalError`."""
    if not storage.has_begun(folder):
        yield
        return
    until = time.monotonic() + _WAIT
    while True:
        try:
            with storage.hold_pruning(folder):
                yield
                return
        except BlockingIOError:
            if time.monotonic() > until:
                raise JournalError(f"the journal {folder} is being pruned or compressed", "try again") from None
            time.sleep(0.1)


def _copy_journal(source: Path, target: Path) -> None:
    """Copy the segments that are there, and the start of a pruned journal. A segment begun meanwhile is left out."""
    if not storage.has_begun(source):
        return
    for _, path in storage.segments(source):
        _copy(path, target / path.name)
    _cut_half_line(storage.segments(target)[-1][1])
    if (mark := source / verification.FLOOR_FILE).exists():
        _copy(mark, target / verification.FLOOR_FILE)


def _cut_half_line(path: Path) -> None:
    """Leave whole lines alone. A writer may have been in the middle of the last one."""
    if path.suffix == SUFFIX:
        return
    size = path.stat().st_size
    with path.open("rb+") as file:
        while size > 0:
            start = max(0, size - _BLOCK)
            file.seek(start)
            found = file.read(size - start).rfind(b"\n")
            if found >= 0:
                file.truncate(start + found + 1)
                return
            size = start
        file.truncate(0)


def _copy(source: Path, target: Path) -> None:
    """Copy a file with its time, for its owner alone, on disk."""
    _place(target, lambda fresh: _copy_to(source, fresh))
    status = source.stat()
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _copy_to(source: Path, fresh: int) -> None:
    with source.open("rb") as original, os.fdopen(fresh, "wb") as file:
        shutil.copyfileobj(original, file, _BLOCK)
        file.flush()
        os.fsync(file.fileno())


def _write(path: Path, content: bytes) -> None:
    def write(fresh: int) -> None:
        with os.fdopen(fresh, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    _place(path, write)


def _place(path: Path, fill: Callable[[int], None]) -> None:
    """Make a file for its owner alone, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fill(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    fresh.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _describe(folder: Path, path: Path) -> CopiedFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return CopiedFile(str(path.relative_to(folder)), path.stat().st_size, digest)
