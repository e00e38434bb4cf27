"""A policy folder, read the way `opa run --bundle` reads it.

Rego files decide, except files named `*_test.rego`, which hold tests. Files named `data.json`, `data.yaml` and `data.yml` are
inserted at the path of their folder. `.manifest` has the roots of the folder and its revision. Other names that begin with a
dot are left out.

The record has to say which policy decided, and a folder cannot hold its own hash. So Rego gives the name of the policy, and
the gateway gives the revision. For a policy evaluated here it is `Bundle.revision`, computed from the loaded bytes. For an OPA
server it is the revision that the server reports (`opa_client.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, cast

from gateway.model.errors import PolicyBroken
from gateway.policy.folder import data_files, grant_files
from gateway.policy.folder.shadowing import DataSource

MAX_BYTES = 32 * 2**20
MAX_FILES = 5_000
MAX_DEPTH = 32

GRANTS = "gateway/grants/data.yaml"
FACTS = "facts.yaml"
"""The file with declared facts, at the top of an overlay, and in the folder `gateway` of a policy."""
_FACTS_AT = (("overlay",), ("gateway",))
_GRANTS_FOLDER = "gateway/grants"
_GRANTS_AT = ("gateway", "grants")
_DATA_NAMES = frozenset({"data.json", "data.yaml", "data.yml", FACTS})

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""Of each file, its name, size, inode and time of its last change."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A policy as an engine takes it. `modules` are names, relative to the folder, and Rego texts; `tests` are modules that
    hold tests. `data` is the JSON document of all data files, and `sources` are these files. `roots` are the paths, such as
    `gateway/grants`, that the policy may define; `("",)` is everything."""

    modules: tuple[tuple[str, str], ...]
    data: str
    revision: str
    roots: tuple[str, ...] = ("",)
    sources: tuple[DataSource, ...] = ()
    tests: tuple[tuple[str, str], ...] = ()

    def decoded_data(self) -> dict[str, Any]:
        """Return the document of all data files."""
        return cast("dict[str, Any]", json.loads(self.data))


@dataclass(frozen=True, slots=True)
class Suite:
    """Tests to run on a policy: the tests in files whose names begin with `below`."""

    policy: Bundle
    below: str = ""


def read_folder(folder: Path, grants: Path | None = None) -> Bundle:
    """Read a policy folder; `grants` is a file, or a folder of files, in place of its `gateway/grants/data.yaml`.

    Raises `PolicyBroken` naming the file, what is wrong with it, and the remedy.
    """
    files, named = _files(folder, "policy.path"), dict[str, Path]()
    if grants is not None:
        for name in _DATA_NAMES:
            files.pop(f"{_GRANTS_FOLDER}/{name}", None)
        found_files = grant_files.find_files(grants)
        named = {f"{_GRANTS_FOLDER}/{file.name}" if grants.is_dir() else GRANTS: file for file in found_files}
        files |= {name: _content(file, str(file)) for name, file in named.items()}
    found = _bundle(files, {name: str(file) for name, file in named.items()}, frozenset(named))
    if not found.modules:
        raise PolicyBroken(f"{folder} holds no Rego files", "point policy.path at a policy folder")
    return found


def read_below(folder: Path, root: str, setting: str) -> Bundle:
    """Read a folder of files that belong below `root` in a policy. `setting` is the setting that names the folder.

    Raise `PolicyBroken`.
    """
    files = {f"{root}/{name}": content for name, content in _files(folder, setting).items()}
    if f"{root}/.manifest" in files:
        raise PolicyBroken(f"{folder} has a .manifest, which is for whole policies", "remove it")
    found = _bundle(files, {name: str(folder / PurePosixPath(name).relative_to(root)) for name in files})
    return replace(found, roots=(root,))


def _bundle(files: Mapping[str, bytes], shown: Mapping[str, str], grants: frozenset[str] = frozenset()) -> Bundle:
    """Return the policy in files, by their names in it. `shown` has other names for people, `grants` the operator's own grants."""
    texts = {name: _text(shown.get(name, name), content) for name, content in sorted(files.items())}
    modules = tuple((name, text) for name, text in texts.items() if _is_deciding(name))
    tests = tuple((name, text) for name, text in texts.items() if _is_test(name))
    roots, named = _manifest(texts.get(".manifest"))
    read = [
        _source(name, text, shown.get(name, name))
        for name, text in texts.items()
        if name in grants or PurePosixPath(name).name in _DATA_NAMES
    ]
    sources = tuple(_join_grants(read))
    data = merge_data(sources)
    require_roots(data, roots)
    digest = _digest({name: content for name, content in files.items() if not _is_test(name)})
    revision = f"{named}+{digest[:8]}" if named else digest[:16]
    return Bundle(modules, json.dumps(data), revision, roots, sources, tests)


def sources(folder: Path) -> dict[str, str]:
    """Return the texts of the Rego files that decide, by name, without tests. Raise `PolicyBroken`."""
    files = _files(folder, "policy.path")
    return {name: _text(name, content) for name, content in files.items() if _is_deciding(name)}


def fingerprint(folders: Iterable[Path], files: Iterable[Path] = ()) -> Fingerprint:
    """Return the name, size, inode and time of the last change of every file, which change when the folders do. The time of the
    last modification can be set, as tools that copy do; that of the last change is the system's."""
    paths = [found for folder in folders for found in _paths(folder, folder.resolve(), 0)]
    paths += [(str(file), file) for file in files]
    marks: list[tuple[str, int, int, int]] = []
    for name, path in paths:
        try:
            status = path.stat()
        except OSError as error:
            raise PolicyBroken(
                f"{name} cannot be read: {error.strerror}", "restore the file, or correct its name in the configuration"
            ) from None
        marks.append((name, status.st_size, status.st_ino, status.st_ctime_ns))
    return tuple(marks)


def _files(folder: Path, setting: str) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    size = 0
    for name, path in _paths(folder, folder.resolve(), 0):
        files[name] = _content(path, name)
        size += len(files[name])
        if size > MAX_BYTES or len(files) > MAX_FILES:
            raise PolicyBroken(
                f"{folder} is larger than {MAX_BYTES >> 20} MiB or {MAX_FILES} files",
                f"point {setting} at a folder that holds the policy alone",
            )
    return files


def _paths(folder: Path, root: Path, depth: int, prefix: str = "") -> Iterator[tuple[str, Path]]:
    """Yield the files that count, in order of name. A symbolic link may lead elsewhere within the folder, never out
    of it: Kubernetes mounts are made of such links."""
    if depth > MAX_DEPTH:
        raise PolicyBroken(f"{folder} is nested more than {MAX_DEPTH} deep", "look for a link that leads to its parent")
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise PolicyBroken(
            f"the policy folder {folder} cannot be read: {error.strerror}", "make it a folder that the gateway can read"
        ) from None
    for entry in entries:
        name = prefix + entry.name
        if entry.name.startswith(".") and name != ".manifest":
            continue
        path = Path(entry)
        if not entry.name.isprintable():
            raise PolicyBroken(
                f"{folder} has a name with a character that does not print: {entry.name!a}",
                "rename the file or folder with letters that show",
            )
        # To resolve every path is a call of the system for each of its parts, ten times as many as all the rest.
        if entry.is_symlink() and not _target(path, name).is_relative_to(root):
            raise PolicyBroken(f"{name} is a link that leaves the policy folder", "copy what it points to")
        if entry.is_dir():
            yield from _paths(path, root, depth + 1, f"{name}/")
        elif entry.name in _DATA_NAMES or name == ".manifest" or entry.name.endswith(".rego"):
            yield name, path


def _target(link: Path, name: str) -> Path:
    try:
        return link.resolve(strict=True)
    except FileNotFoundError:
        return link.resolve()
    except (OSError, RuntimeError):
        raise PolicyBroken(f"{name} is a link that leads to itself", "mend it, or remove it") from None


def _is_deciding(name: str) -> bool:
    return name.endswith(".rego") and not _is_test(name)


def _is_test(name: str) -> bool:
    return name.endswith("_test.rego")


def _content(path: Path, name: str) -> bytes:
    try:
        if not path.is_file():
            raise PolicyBroken(f"{name} is not a file", "put a readable file there")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PolicyBroken(f"{name} cannot be read: {error.strerror}", "make it readable to the gateway") from None
    if len(content) > MAX_BYTES:
        raise PolicyBroken(f"{name} is larger than {MAX_BYTES >> 20} MiB", "make it smaller")
    return content


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise PolicyBroken(f"{name}:{line}: not UTF-8", "save the file as UTF-8") from None


def _manifest(text: str | None) -> tuple[tuple[str, ...], str]:
    """Return the roots and the revision. Without a manifest, or without roots in it, a folder may define everything."""
    if text is None:
        return ("",), ""
    value = data_files.parse_data(text, ".manifest.json")
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    roots, revision = fields.get("roots", [""]), fields.get("revision", "")
    wellformed = isinstance(roots, list) and all(isinstance(item, str) for item in cast("list[object]", roots))
    if not isinstance(value, dict) or not wellformed or not isinstance(revision, str):
        raise PolicyBroken(
            ".manifest: roots is not a list of text, or revision is not text",
            'write it like {"revision": "2026-11-24", "roots": ["gateway"]}',
        )
    return tuple(root.strip("/") for root in cast("list[str]", roots)), revision


def _join_grants(sources: Iterable[DataSource]) -> Iterator[DataSource]:
    """Yield the data files, those of grants as one, with short forms written out."""
    grants: list[tuple[str, dict[str, Any]]] = []
    for source in sources:
        if source.at == _GRANTS_AT:
            grants.append((source.name, dict(source.value)))
        else:
            yield source
    if grants:
        yield DataSource(", ".join(name for name, _ in grants), _GRANTS_AT, grant_files.join_files(grants))


def _source(name: str, text: str, shown: str) -> DataSource:
    value: object = data_files.parse_data(text, shown)
    if not isinstance(value, dict):
        raise PolicyBroken(f"{shown} is not a mapping at its top level", "start it with a key")
    fields, path = cast("dict[str, Any]", value), PurePosixPath(name)
    if path.name == FACTS:
        _require_facts(fields, path, shown)
    return DataSource(shown, path.parent.parts, fields)


def _require_facts(fields: Mapping[str, Any], path: PurePosixPath, shown: str) -> None:
    """Raise `PolicyBroken` for a file of facts at another place, or with other fields at its top."""
    if path.parent.parts not in _FACTS_AT:
        raise PolicyBroken(
            f"{shown} is not read there", f"move it to the top of the overlay: one {FACTS} has all facts"
        )
    for key in fields:
        if key != "facts":
            raise PolicyBroken(
                f"{shown}: there is no field {key!r}{data_files.nearest(key, ('facts',))}",
                "write `facts` at the top, and all facts below it",
            )


def merge_data(sources: Iterable[DataSource]) -> dict[str, Any]:
    """Return the document of all data files. Raise `PolicyBroken` if two give the same place a value."""
    data: dict[str, Any] = {}
    for source in sources:
        try:
            _insert(data, source)
        except RecursionError:
            raise PolicyBroken(f"{source.name} is nested too deeply", "make it flatter") from None
    return data


def _insert(data: dict[str, Any], source: DataSource) -> None:
    here = data
    for part in source.at:
        inner = here.setdefault(part, {})
        if not isinstance(inner, dict):
            raise PolicyBroken(
                f"{source.name} meets a value that another data file gives", "give each value in one file"
            )
        here = cast("dict[str, Any]", inner)
    _merge(here, source.value, source.name)


def _merge(into: dict[str, Any], value: Mapping[str, Any], name: str) -> None:
    """Add a mapping to another. The first is left as it is: it belongs to its own file."""
    for key, item in value.items():
        if isinstance(item, dict) and isinstance(into.get(key, {}), dict):
            _merge(into.setdefault(key, {}), cast("dict[str, Any]", item), name)
        elif key not in into:
            into[key] = item
        else:
            raise PolicyBroken(f"{name}: another data file gives {key!r} too", "give each value in one file")


def is_within_roots(path: str, roots: tuple[str, ...]) -> bool:
    """Return whether a path such as `gateway/grants` is within one of the roots."""
    return any(root in {"", path} or path.startswith(f"{root}/") for root in roots)


def require_roots(data: Mapping[str, Any], roots: tuple[str, ...], prefix: str = "") -> None:
    """Raise `PolicyBroken` for data outside of the roots."""
    for key, item in data.items():
        path = prefix + key
        if is_within_roots(path, roots):
            continue
        if isinstance(item, dict) and item and any(root.startswith(f"{path}/") for root in roots):
            require_roots(cast("dict[str, Any]", item), roots, f"{path}/")
        else:
            raise PolicyBroken(f"data.{path.replace('/', '.')} is outside the roots of .manifest", "add it to roots")


def _digest(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        for part in (name.encode(), content):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
