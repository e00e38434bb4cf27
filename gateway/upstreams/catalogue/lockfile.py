"""The lock file: the pinned definitions, committed beside the configuration and reviewed like code.

The file is indented JSON, with upstreams and definitions in stable order. A definition is whole, and instructions stand
line by line, so any diff viewer shows a change. Invisible characters are written as escapes, in the file too.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from gateway.base.folder_lock import hold_folder, replace_file
from gateway.base.letters import is_hidden
from gateway.config.packages import PackageLock
from gateway.model.errors import ConfigurationError
from gateway.upstreams.catalogue.pins import INSTRUCTIONS, Definition, Lock, Pinned, read_definition, read_instructions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

    from gateway.upstreams.catalogue.pins import Subject, UnpinnableDefinition

VERSION: Final = 4
_READ_VERSIONS: Final = frozenset({3, VERSION})
"""Versions that are read. Version 3 has no packages; the next change writes the file anew."""
_ABOUT: Final = (
    "What this gateway trusts of its upstreams: written by opagate, committed and reviewed like code.",
    "What is no longer as it is in here is not shown and cannot be used. See what changed: opagate catalogue diff",
    "Trust it as it is now: opagate catalogue pin UPSTREAM/NAME. Edits by hand break the digest and are refused.",
)
_SECTIONS: Final[Mapping[str, Subject]] = {"prompts": "prompt", "resources": "resource", "tools": "tool"}
"""Section of an upstream → what is defined in it, by name. `instructions` have a form of their own."""
_REMEDY = "restore it from version control, or delete it and pin again with `opagate catalogue pin`"
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def load(path: Path) -> Lock:
    """Return the pins in a file; none if there is no such file. Raises `ConfigurationError`."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return Lock()
    except OSError as error:
        raise ConfigurationError(f"the catalogue lock {path} cannot be read: {error}", _REMEDY) from None
    return parse(text, str(path))


def gone(path: Path) -> ConfigurationError:
    """Return the error for a lock file gone since the gateway's last reading."""
    return ConfigurationError(
        f"the catalogue lock {path} is gone; its pins stay in force until the gateway stops",
        "restore it, or pin again with `opagate catalogue pin`",
    )


def amend(path: Path, change: Callable[[Lock], Lock], *, existing: bool = False) -> Lock:
    """Change the file atomically; other processes wait their turn. A symbolic link stays a link. `existing`: do not
    begin a vanished file anew. Returns the new content. Raises `ConfigurationError`."""
    path = Path(os.path.realpath(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with hold_folder(path.parent):  # not the file, which another file replaces
            if existing and not path.exists():
                raise gone(path)
            before = load(path)
            after = change(before)
            if after != before or not path.exists():
                replace_file(path, render(after))
            return after
    except OSError as error:
        raise ConfigurationError(
            f"the catalogue lock {path} cannot be written: {error.strerror}",
            "let the gateway write there, or set catalogue.trust to locked",
        ) from None


# --- writing ---------------------------------------------------------------------------------------


def render(lock: Lock) -> str:
    """Return the text of the lock file: the same pins give the same text."""
    names = sorted({*lock.upstreams, *lock.packages})
    upstreams = {upstream: _describe_upstream(lock, upstream) for upstream in names}
    document = {"about": _ABOUT, "version": VERSION, "upstreams": upstreams}
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return "".join(_escape(c) if c != "\n" and is_hidden(c) else c for c in text) + "\n"


def _describe_upstream(lock: Lock, upstream: str) -> dict[str, Any]:
    """Return the pins of an upstream, its packages and instructions first."""
    described: dict[str, Any] = {}
    if (packages := lock.packages.get(upstream)) is not None:
        described["packages"] = {
            "digest": packages.digest,
            "registry": packages.registry,
            "versions": dict(sorted(packages.versions.items())),
            "tree": packages.tree,
        }
    for pin in lock.of(upstream, "instructions").values():
        lines = str(pin.definition.document[INSTRUCTIONS]).split("\n")
        described[INSTRUCTIONS] = {"digest": pin.definition.digest, "pinned": pin.at, "text": lines}
    for section, subject in _SECTIONS.items():
        found = {name: _describe_pin(pin) for name, pin in sorted(lock.of(upstream, subject).items())}
        if found:
            described[section] = found
    return described


def _describe_pin(pin: Pinned) -> dict[str, Any]:
    document = json.loads(json.dumps(pin.definition.document, sort_keys=True))
    return {"digest": pin.definition.digest, "pinned": pin.at, "definition": document}


def _escape(character: str) -> str:
    """Return the JSON escape of a character, outside of the basic plane as a pair of surrogates."""
    return json.dumps(character)[1:-1]


# --- reading ---------------------------------------------------------------------------------------


class _PinText(msgspec.Struct, forbid_unknown_fields=True):
    digest: str
    pinned: str
    definition: msgspec.Raw


class _InstructionsText(msgspec.Struct, forbid_unknown_fields=True):
    digest: str
    pinned: str
    text: list[str]


class _PackagesText(msgspec.Struct, forbid_unknown_fields=True):
    digest: str
    registry: Literal["npm", "pypi"]
    versions: dict[str, str]
    tree: _NpmTree | list[str]


class _NpmTree(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    lockfileVersion: int  # noqa: N815 - as npm calls it
    packages: dict[str, dict[str, Any]]


class _UpstreamText(msgspec.Struct, forbid_unknown_fields=True):
    packages: _PackagesText | None = None
    instructions: _InstructionsText | None = None
    prompts: dict[str, _PinText] = {}
    resources: dict[str, _PinText] = {}
    tools: dict[str, _PinText] = {}


class _LockText(msgspec.Struct, forbid_unknown_fields=True):
    about: list[str]
    version: int
    upstreams: dict[str, _UpstreamText]


class _VersionText(msgspec.Struct):
    version: int


def parse(text: bytes | str, name: str = "catalogue.lock") -> Lock:
    """Return the pins in the text of a lock file. Raises `ConfigurationError` with the place."""
    reader = _LockReader(name)
    document = reader.read_document(text.encode() if isinstance(text, str) else text)
    pins = {upstream: reader.take_upstream(upstream, found) for upstream, found in document.upstreams.items()}
    packages = {
        upstream: reader.take_packages(upstream, found.packages)
        for upstream, found in document.upstreams.items()
        if found.packages is not None
    }
    return Lock({upstream: found for upstream, found in pins.items() if found or upstream not in packages}, packages)


class _LockReader:
    """The strict reader of one lock file. `name` is the file's, for messages."""

    def __init__(self, name: str) -> None:
        self.name = name

    def refuse(self, problem: str) -> NoReturn:
        raise ConfigurationError(f"the catalogue lock {self.name}{problem}", _REMEDY) from None

    def read_document(self, text: bytes) -> _LockText:
        """Return the document. Refuse a name twice in one object: a merge may leave both."""
        try:
            json.loads(text.decode(), object_pairs_hook=_require_unique)
            version = msgspec.json.decode(text, type=_VersionText).version
            if version not in _READ_VERSIONS:
                self.refuse(f" has version {version}; this gateway reads version {VERSION}")
            return msgspec.json.decode(text, type=_LockText)
        except json.JSONDecodeError as error:
            self.refuse(f", line {error.lineno}, cannot be read: {error.msg}")
        except _RepeatedName as error:
            self.refuse(f" has {error.args[0]!r} twice in one object")
        except RecursionError:
            self.refuse(" cannot be read: it is nested too deeply")
        except (msgspec.MsgspecError, ValueError) as error:
            self.refuse(f" cannot be read: {error}")

    def take_upstream(self, upstream: str, found: _UpstreamText) -> dict[Subject, dict[str, Pinned]]:
        """Return the pins of an upstream by subject."""
        pins: dict[Subject, dict[str, Pinned]] = {}
        if found.instructions is not None:
            item = read_instructions(json.dumps("\n".join(found.instructions.text)).encode())
            pins["instructions"] = {INSTRUCTIONS: self._trust(f"{upstream}/{INSTRUCTIONS}", found.instructions, item)}
        for section, subject in _SECTIONS.items():
            texts: dict[str, _PinText] = getattr(found, section)
            if texts:
                pins[subject] = {name: self._take_pin(f"{upstream}/{name}", name, text) for name, text in texts.items()}
        return pins

    def take_packages(self, upstream: str, text: _PackagesText) -> PackageLock:
        """Return the packages of an upstream, if they have their digest."""
        tree = text.tree if isinstance(text.tree, list) else msgspec.to_builtins(text.tree)
        lock = PackageLock(text.registry, text.versions, tree)
        if isinstance(text.tree, list) is not (text.registry == "pypi") or lock.digest != text.digest:
            self.refuse(f", at {upstream}/packages, has a digest that is not the digest of its packages")
        return lock

    def _take_pin(self, place: str, name: str, text: _PinText) -> Pinned:
        """Return a pin, its definition read as strictly as an upstream's."""
        item = read_definition(bytes(text.definition))
        if isinstance(item, Definition) and item.name != name:
            self.refuse(f", at {place}, has the definition of {item.name!r}")
        return self._trust(place, text, item)

    def _trust(self, place: str, text: _PinText | _InstructionsText, item: Definition | UnpinnableDefinition) -> Pinned:
        """Return a pin whose definition has its digest."""
        if not isinstance(item, Definition):
            self.refuse(f", at {place}, has a definition that cannot be read: {item.problem}")
        if item.digest != text.digest:
            self.refuse(f", at {place}, has a digest that is not the digest of its definition")
        if _AT.fullmatch(text.pinned) is None:
            self.refuse(f", at {place}, has a time that is not RFC 3339 in UTC: {text.pinned!r}")
        return Pinned(item, text.pinned)


class _RepeatedName(Exception):
    """A name that stands twice in one object."""


def _require_unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedName(next(name for name in names if names.count(name) > 1))
    return members


class PackagePins:
    """The packages of a lock file, read again when the file has changed. While the file is gone or unreadable, the latest
    packages stay in force."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._signature = signature_of(path)
        self._packages = load(path).packages

    def find(self, upstream: str) -> PackageLock | None:
        """Return the locked packages of an upstream."""
        signature = signature_of(self._path)
        if signature is not None and signature != self._signature:
            with suppress(ConfigurationError):
                self._packages, self._signature = load(self._path).packages, signature
        return self._packages.get(upstream)


def signature_of(path: Path) -> tuple[int, int, int] | None:
    """Return a mark of the lock file's state. The mark uses the time of the last status change: no program can set this
    time."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ctime_ns, found.st_size, found.st_ino
