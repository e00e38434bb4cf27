"""A strict reader of YAML written by people for the gateway. Pure. The reader refuses duplicate keys, since only the
last would count, silently. Merge keys (`<<`) are refused for the same reason, and aliases because a small file can
become a huge value. `value` reads scalars by YAML 1.1; callers of `node` read scalars themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE: Final = "tag:yaml.org,2002:merge"
_DEPTH: Final = 100
"""Levels of nesting. What reads the nodes may recurse."""


class UnreadableYaml(Exception):
    """`problem` is a clause; `line` and `column` count from 1."""

    def __init__(self, problem: str, line: int = 1, column: int = 1) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        self.column = column


_TAB: Final = "the line begins with a tab, and YAML is indented with spaces"


def node(text: str) -> yaml.Node | None:
    """Return the root node of a text, `None` for an empty text. Raises `UnreadableYaml`."""
    try:
        for event in cast("Iterable[yaml.Event]", yaml.parse(text, Loader=_LOADER)):  # pyright: ignore[reportUnknownMemberType] - untyped
            if isinstance(event, yaml.AliasEvent):
                raise _at(event.start_mark, "aliases are not read; write the value out")
        root = cast("yaml.Node | None", yaml.compose(text, Loader=_LOADER))  # pyright: ignore[reportUnknownMemberType] - untyped
        if root is not None:
            _require_plain(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        begins = [] if mark is None else text.split("\n")[mark.line : mark.line + 1]
        problem = _TAB if any(line.startswith("\t") for line in begins) else error.problem
        raise _at(mark, f"not YAML: {problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UnreadableYaml(f"not YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise UnreadableYaml("nested too deeply") from None
    return root


def value(text: str) -> Any:
    """Return the value of a text by YAML 1.1, `None` for an empty text. Raises `UnreadableYaml`."""
    root = node(text)
    try:
        return None if root is None else cast("object", _Constructor().construct_document(root))  # pyright: ignore[reportUnknownMemberType] - untyped
    except yaml.MarkedYAMLError as error:
        raise _at(error.problem_mark, str(error.problem)) from None


class _Constructor(yaml.constructor.SafeConstructor):
    """A safe constructor with reports of impossible dates and equal keys. PyYAML raises a bare Python error for
    `2020-13-01`, and keeps only the later of the keys `yes` and `true`."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - as below
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) < len(node.value):
            problem = "two of the keys are the same, written differently"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return mapping

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - as PyYAML calls it
        try:
            return cast("object", super().construct_object(node, deep=deep))  # pyright: ignore[reportUnknownMemberType] - untyped
        except (ValueError, LookupError, AttributeError):
            problem = "it is no value; put it in quotes if it is text"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


def _require_plain(root: yaml.Node) -> None:
    """Refuse a key given twice, and deep nesting."""
    waiting = [(root, 0)]
    while waiting:
        here, depth = waiting.pop()
        if depth > _DEPTH:
            raise _at(here.start_mark, "nested too deeply")
        if isinstance(here, yaml.MappingNode):
            members = cast("list[tuple[yaml.Node, yaml.Node]]", here.value)
            _require_single_keys(key for key, _ in members)
            waiting += ((node, depth + 1) for member in members for node in member)
        elif isinstance(here, yaml.SequenceNode):
            waiting += ((node, depth + 1) for node in cast("list[yaml.Node]", here.value))


def _require_single_keys(keys: Iterable[yaml.Node]) -> None:
    seen: set[tuple[str, str]] = set()
    for key in keys:
        if isinstance(key, yaml.ScalarNode):
            if key.tag == _MERGE:
                raise _at(key.start_mark, "<< is not read; write the members out, or put it in quotes")
            name = (key.tag, cast("str", key.value))
            if not name[1].isprintable():
                raise _at(key.start_mark, f"a key has a character that does not print: {name[1]!a}; write it without")
            if name in seen:
                raise _at(key.start_mark, f"the key {key.value!r} is given twice")
            seen.add(name)


def _at(mark: yaml.Mark | None, problem: str) -> UnreadableYaml:
    return UnreadableYaml(problem) if mark is None else UnreadableYaml(problem, mark.line + 1, mark.column + 1)
