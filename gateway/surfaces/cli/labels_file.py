"""The file of labels as `opagate catalogue label --write` writes it: comments, order and a person's labels stay."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from gateway.base import strict_yaml
from gateway.base.folder_lock import hold_folder, replace_file
from gateway.config.loading import load_labels, parse_labels
from gateway.model.errors import ConfigurationError

Labels: TypeAlias = Mapping[str, Any]
"""Fields of one tool, as YAML has them."""
Added: TypeAlias = Mapping[str, Mapping[str, Labels]]
"""Upstream → tool → fields."""

_NAME: Final = "labels.yaml"

EMPTY_LABELS: Final = "# Labels of the upstreams' tools: docs/policy/labels.md.\nformat: 1\nupstreams: {}\n"
"""A new file."""
_INDENT: Final = re.compile(r"^upstreams:.*\n(?: *(?:#.*)?\n)*( +)[^ #]", re.MULTILINE)
_UPSTREAMS: Final = re.compile(r"^upstreams:", re.MULTILINE)
_LONGEST: Final = 256
_WIDTH: Final = 4096
"""Columns of a line. Labels of a tool stay in one line, and long texts of a person as they are."""


def is_writable(name: str) -> bool:
    """Return whether a name of a server, or a pointer, may stand in the file: short, and without hidden characters."""
    return len(name) <= _LONGEST and name.isprintable()


def list_fields(path: Path | None) -> Mapping[str, Mapping[str, frozenset[str]]]:
    """Return the labelled fields of each pattern in a labels file, by upstream. `None` is no file."""
    if path is None:
        return {}
    return {
        name: {pattern: frozenset(labels.model_fields_set) for pattern, labels in upstream.tools.items()}
        for name, upstream in load_labels(path).upstreams.items()
    }


def write_labels(config: Path, labels: Path | None, added: Added, *, replace: bool) -> Path:
    """Add labels to the file of labels, and return its path. Raise `ConfigurationError`.

    Without a file, labels.yaml is made beside the configuration, which names it from then on.
    """
    path = Path(os.path.realpath(labels or config.with_name(_NAME)))
    try:
        with hold_folder(path.parent):
            if labels is None and path.exists():
                raise ConfigurationError(
                    f"{path} is there, and {config} does not name it", f"write `labels: {_NAME}` into {config}"
                )
            naming = None if labels is not None else name_labels_file(config.read_text("utf-8"), str(config))
            before = None if labels is None else path.read_text("utf-8")
            replace_file(path, add_labels(before, str(path), added, replace=replace))
            if naming is not None:
                replace_file(Path(os.path.realpath(config)), naming)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}", "let this user write there") from None
    return path


def add_labels(text: str | None, name: str, added: Added, *, replace: bool = False) -> str:
    """Return the text of a labels file with further fields of tools. `None` is no file yet.

    With `replace` a field takes the place of an earlier one. Raise `ConfigurationError` for an unreadable file.
    """
    from ruamel.yaml import YAML

    before = EMPTY_LABELS if text is None else text
    parse_labels(before, name)
    editor: Any = YAML()
    editor.width = _WIDTH
    editor.preserve_quotes = True
    if (indent := _INDENT.search(before)) is not None:
        editor.map_indent = len(indent[1])
    document = editor.load(before)
    for upstream, tools in added.items():
        known = _child(_child(_child(document, "upstreams"), upstream), "tools")
        for tool, labels in tools.items():
            _add_fields(known, tool, labels, replace=replace)
    written = io.StringIO()
    editor.dump(document, written)
    after = written.getvalue()
    if not _has_value(after, _expect(strict_yaml.value(before), added, replace=replace)):
        raise ConfigurationError(f"{name} cannot be added to", "write the labels by hand, as the command shows them")
    parse_labels(after, name)
    return after


def name_labels_file(text: str, path: str) -> str:
    """Return the text of gateway.yaml with the setting `labels`. Raise `ConfigurationError` for a file too free in its form."""
    found = _UPSTREAMS.search(text)
    at = found.start() if found else len(text)
    head = text[:at] if not text[:at] or text[:at].endswith("\n") else f"{text[:at]}\n"
    after = f"{head}labels: {_NAME}\n{text[at:]}"
    before: Any = strict_yaml.value(text)
    if not _has_value(after, {**(before or {}), "labels": _NAME}):
        raise ConfigurationError(f"{path} cannot be added to", f"write `labels: {_NAME}` at its top level")
    return after


def _has_value(text: str, expected: Any) -> bool:
    """Return whether an edited text has the value that it should have: the test of each edit."""
    try:
        return bool(strict_yaml.value(text) == expected)
    except strict_yaml.UnreadableYaml:
        return False


def _child(parent: Any, key: str) -> Any:
    """Return a mapping below a key. An empty one becomes a mapping in lines of its own."""
    found: Any = parent.get(key)
    if found is None:
        found = parent[_quoted(key)] = _make_mapping({})
    if not found:
        found.fa.set_block_style()
    return found


def _add_fields(tools: Any, tool: str, labels: Labels, *, replace: bool) -> None:
    entry: Any = tools.get(tool)
    if entry is None:
        entry = tools[_quoted(tool)] = _make_mapping({})
    for field, value in labels.items():
        if replace or field not in entry:
            entry[field] = _make_mapping(labels["roles"]) if field == "roles" else value


def _make_mapping(content: Labels) -> Any:
    """Return a YAML mapping in flow style: one line, in braces."""
    from ruamel.yaml.comments import CommentedMap

    found: Any = CommentedMap()
    found.fa.set_flow_style()
    for key, value in content.items():
        found[_quoted(key)] = value
    return found


def _quoted(key: str) -> str:
    """Return a key that each reader of YAML reads as this text. A server chooses names: `on` is no switch, and `1` no number."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    try:
        is_plain = key.isascii() and strict_yaml.value(f"{{{key}: 1}}") == {key: 1}
    except strict_yaml.UnreadableYaml:
        is_plain = False
    return key if is_plain else DoubleQuotedScalarString(key)


def _expect(document: Any, added: Added, *, replace: bool) -> Any:
    """Return the value of a labels file with the fields added."""
    upstreams: dict[str, Any] = dict(document.get("upstreams") or {})
    for upstream, tools in added.items():
        settings: dict[str, Any] = upstreams.get(upstream) or {}
        known: dict[str, Any] = dict(settings.get("tools") or {})
        for tool, labels in tools.items():
            own: Labels = known.get(tool) or {}
            known[tool] = {**own, **labels} if replace else {**labels, **own}
        upstreams[upstream] = {**settings, "tools": known}
    return {**document, "upstreams": upstreams}
