"""The lock file: the pinned definitions, committed beside the configuration and reviewed like code. The file is YAML,
with upstreams and definitions in stable order. A definition is whole, as indented JSON, and instructions stand line by
line. So any diff viewer shows a change, without the upstream. Invisible characters are written as escapes, in the file
too.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import yaml

from gateway import strict_yaml
from gateway.catalogue.pins import INSTRUCTIONS, Definition, Lock, Pinned, is_hidden, read_definition, read_instructions
from gateway.errors import ConfigurationError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from gateway.catalogue.pins import Subject, UnpinnableDefinition

VERSION = 2
_END: Final = "..."
"""The last line, YAML's mark for the end of a document: without it, a file that was cut off between two pins would be one."""
_HEADER = """\
# What this gateway trusts of its upstreams: written by opagate, committed and reviewed like code.
# What is no longer as it is in here is not shown and cannot be used. See what changed: opagate catalogue diff
# Trust it as it is now: opagate catalogue pin UPSTREAM/NAME. Edits by hand break the digest and are refused.
"""
_SECTIONS: Final[Mapping[str, Subject]] = {"prompts": "prompt", "tools": "tool"}
"""Section of an upstream → what is defined in it, by name. `instructions` have a form of their own."""
_REMEDY = "restore it from version control, or delete it and pin again with `opagate catalogue pin`"
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def load(path: Path) -> Lock:
    """The pins in a file; none if there is no such file. Raises `ConfigurationError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Lock()
    except (OSError, UnicodeDecodeError) as error:
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
        with _alone(path.parent):
            if existing and not path.exists():
                raise gone(path)
            before = load(path)
            after = change(before)
            if after != before or not path.exists():
                _replace(path, render(after))
            return after
    except OSError as error:
        raise ConfigurationError(
            f"the catalogue lock {path} cannot be written: {error.strerror}",
            "let the gateway write there, or set catalogue.trust to locked",
        ) from None


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Hold the folder's lock. The folder's, since the file itself is replaced by another."""
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


# --- writing ---------------------------------------------------------------------------------------


def render(lock: Lock) -> str:
    """The text of the lock file: the same pins give the same text."""
    lines = [f"{_HEADER}version: {VERSION}", "upstreams:" if lock.upstreams else "upstreams: {}"]
    for upstream in sorted(lock.upstreams):
        lines += [f"  {_key(upstream)}:", *_instructions(lock.of(upstream, "instructions"))]
        for section, subject in _SECTIONS.items():
            lines += _section(section, lock.of(upstream, subject))
    return "\n".join([*lines, _END]) + "\n"


def _instructions(pins: Mapping[str, Pinned]) -> Iterator[str]:
    for pin in pins.values():
        yield f"    {INSTRUCTIONS}:"
        yield from _write_pin(pin, " " * 6)
        yield "      text:"
        yield from (f"        - {_quote(line)}" for line in str(pin.definition.document[INSTRUCTIONS]).split("\n"))


def _section(section: str, pins: Mapping[str, Pinned]) -> Iterator[str]:
    if pins:
        yield f"    {section}:"
    for name, pin in sorted(pins.items()):
        yield f"      {_key(name)}:"
        yield from _write_pin(pin, " " * 8)
        yield "        definition: |"
        yield from (f"          {line}" for line in _pretty(pin.definition).split("\n"))


def _write_pin(pin: Pinned, indent: str) -> Iterator[str]:
    yield f"{indent}digest: {pin.definition.digest}"
    yield f'{indent}pinned: "{pin.at}"'


def _pretty(item: Definition) -> str:
    text = json.dumps(item.document, indent=2, sort_keys=True, ensure_ascii=False)
    return "".join(_json_escape(c) if c != "\n" and is_hidden(c) else c for c in text)


def _json_escape(character: str) -> str:
    return json.dumps(character)[1:-1]


def _key(name: str) -> str:
    if _PLAIN.fullmatch(name) and name.lower() not in _YAML_WORDS:
        return name
    return _quote(name)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(f"\\U{ord(c):08x}" if is_hidden(c) else c for c in escaped) + '"'


# --- reading ---------------------------------------------------------------------------------------


def parse(text: str, name: str = "catalogue.lock") -> Lock:
    """Return the pins in the text of a lock file. Raises `ConfigurationError` with the line."""
    reader = _LockReader(name)
    try:
        root = strict_yaml.node(text)
    except strict_yaml.UnreadableYaml as error:
        raise reader.refuse(error.line, f"cannot be read: {error.problem}") from None
    if root is None:
        raise reader.refuse(1, "is empty")
    top = reader.mapping(root, {"version", "upstreams"})
    version = reader.text(top["version"])
    if version != str(VERSION):
        raise reader.refuse(_line(top["version"]), f"has version {version!r}; this gateway reads version {VERSION}")
    lock = Lock({upstream: reader.upstream(node) for upstream, node in reader.mapping(top["upstreams"]).items()})
    lines = text.splitlines()
    if lines[-1] != _END:
        raise reader.refuse(len(lines), f"is cut off: its last line is not {_END!r}")
    return lock


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


class _LockReader:
    """Reads YAML nodes strictly. `name` is the file's, for messages."""

    def __init__(self, name: str) -> None:
        self.name = name

    def refuse(self, line: int, problem: str) -> ConfigurationError:
        return ConfigurationError(f"the catalogue lock {self.name}, line {line}, {problem}", _REMEDY)

    def mapping(self, node: yaml.Node, keys: set[str] | None = None) -> dict[str, yaml.Node]:
        """The members of a mapping, exactly `keys` if given."""
        if not isinstance(node, yaml.MappingNode):
            raise self.refuse(_line(node), "is not a mapping")
        found: dict[str, yaml.Node] = {}
        for key_node, value_node in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
            key = self.text(key_node)
            if keys is not None and key not in keys:
                raise self.refuse(_line(key_node), f"has an unknown key {key!r}")
            found[key] = value_node
        if missing := (keys or set()) - found.keys():
            raise self.refuse(_line(node), f"lacks {', '.join(sorted(missing))}")
        return found

    def text(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self.refuse(_line(node), "is not a scalar")
        return cast("str", node.value)

    def lines(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.SequenceNode):
            raise self.refuse(_line(node), "is not a list of lines")
        return "\n".join(self.text(item) for item in cast("list[yaml.Node]", node.value))

    def upstream(self, node: yaml.Node) -> dict[Subject, dict[str, Pinned]]:
        found: dict[Subject, dict[str, Pinned]] = {}
        for section, pins in self.mapping(node).items():
            if section == INSTRUCTIONS:
                found["instructions"] = {INSTRUCTIONS: self.instructions(pins)}
            elif section in _SECTIONS:
                found[_SECTIONS[section]] = {name: self.pin(name, pin) for name, pin in self.mapping(pins).items()}
            else:
                raise self.refuse(_line(pins), f"has an unknown key {section!r}")
        return found

    def pin(self, name: str, node: yaml.Node) -> Pinned:
        """Return a pin, its definition read as strictly as an upstream's and compared with its digest."""
        members = self.mapping(node, {"digest", "pinned", "definition"})
        item = read_definition(self.text(members["definition"]).encode())
        if isinstance(item, Definition) and item.name != name:
            raise self.refuse(_line(members["definition"]), f"has the definition of {item.name!r} under {name!r}")
        return self.trusted(members, "definition", name, item)

    def instructions(self, node: yaml.Node) -> Pinned:
        members = self.mapping(node, {"digest", "pinned", "text"})
        item = read_instructions(json.dumps(self.lines(members["text"])).encode())
        return self.trusted(members, "text", INSTRUCTIONS, item)

    def trusted(
        self, members: dict[str, yaml.Node], member: str, name: str, item: Definition | UnpinnableDefinition
    ) -> Pinned:
        if not isinstance(item, Definition):
            raise self.refuse(_line(members[member]), f"has a definition that cannot be read: {item.problem}")
        if item.digest != self.text(members["digest"]):
            raise self.refuse(_line(members["digest"]), f"has a digest that is not that of the definition of {name!r}")
        at = self.text(members["pinned"])
        if _AT.fullmatch(at) is None:
            raise self.refuse(_line(members["pinned"]), f"has a time that is not RFC 3339 in UTC: {at!r}")
        return Pinned(item, at)


def signature_of(path: Path) -> tuple[int, int, int] | None:
    """Return a mark of the lock file's state. The mark uses the time of the last status change: no program can set this
    time."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ctime_ns, found.st_size, found.st_ino
