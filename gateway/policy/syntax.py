"""Syntax trees of a policy's modules, as the static checks read them. Pure.

The embedded engine writes a tree as JSON, in which every node says where it stands. A whole policy decoded so takes a
hundred times the room of its text, so `parse_module` keeps the line of each node alone.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from gateway.errors import PolicyBroken

Node = dict[str, Any]
"""A node of a tree: one key, the kind, and under it the parts; `span` has the line."""

_KINDS_WITH_NAMES = frozenset({"SomeVars", "Every"})
_DROPPED = frozenset({"eidx", "sidx", "qidx"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Problem:
    """A defect of a policy: a sentence that begins with the file, and the remedy."""

    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Module:
    """One Rego file. `package` is its full path, such as `data.gateway.lib.hosts`."""

    file: str
    package: str
    rules: list[Any]
    imports: dict[str, str]
    """Name in this file → full path, such as `data.gateway.lib.hosts`."""
    import_lines: dict[str, int]


@dataclass(frozen=True, slots=True)
class Rule:
    """One definition of a rule. `path` is its full path, up to the first part that is a variable."""

    module: Module
    path: tuple[str, ...]
    kind: str
    """`Default`, `Func`, `Set` for a partial set, or `Compr` for every other rule."""
    line: int
    node: Node

    @property
    def place(self) -> str:
        return f"{self.module.file}:{self.line}"


def parse_module(trees: Iterable[str]) -> tuple[Module, ...]:
    """Return the modules of trees in the form of the engine's `get_ast_as_json`. Raise `PolicyBroken`."""
    return tuple(_module(item) for tree in trees for item in msgspec.json.decode(tree, type=list[Any]))


def require(problems: Sequence[Problem]) -> None:
    """Raise `PolicyBroken` for the first problem, with the number of the others."""
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise PolicyBroken(problems[0].message + more, problems[0].remedy)


def rules(module: Module) -> Iterator[Rule]:
    """Return the definitions of a module, in order."""
    package = tuple(module.package.split("."))
    for node in module.rules:
        if "Default" in node:
            reference, kind = node["Default"]["refr"], "Func" if node["Default"]["args"] else "Default"
        else:
            ((kind, head),) = node["Spec"]["head"].items()
            reference = head["refr"]
        (inner,) = node.values()
        yield Rule(module, package + _fixed_part(reference), kind, inner["span"]["line"], node)


def split(reference: Node) -> tuple[Node, list[str | Node]]:
    """Return the first node of a reference and its steps: names and literal keys as text, every other index as its node."""
    steps: list[str | Node] = []
    while True:
        if "RefDot" in reference:
            steps.append(reference["RefDot"]["field"][1])
            reference = reference["RefDot"]["refr"]
        elif "RefBrack" in reference:
            index = reference["RefBrack"]["index"]
            text = literal_text(index)
            steps.append(index if text is None else text)
            reference = reference["RefBrack"]["refr"]
        else:
            return reference, steps[::-1]


def literal_text(node: Node) -> str | None:
    """Return the text of a string literal, or `None` for another node."""
    string = node.get("String") or node.get("RawString")
    return None if string is None else string["value"]


def variable(node: Node) -> str | None:
    """Return the name in a `Var` node, or `None` for another node."""
    return node["Var"]["value"] if "Var" in node else None


def show_reference(reference: Node, length: int | None = None) -> str:
    """Return a reference, or its first steps, as its author would write it."""
    first, steps = split(reference)
    text = variable(first) or "…"
    for step in steps[:length]:
        if not isinstance(step, str):
            text += f"[{variable(step) or step.get('Number', {}).get('value', '…')}]"
        else:
            text += f".{step}" if _NAME.fullmatch(step) else f'["{step}"]'
    return text


def nodes(tree: object) -> Iterator[Node]:
    """Return every object in a tree, in order. No recursion: a policy may be nested deeper than Python's stack."""
    stack: list[object] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            mapping = cast("Node", node)
            yield mapping
            stack.extend(reversed(list(mapping.values())))
        elif isinstance(node, list):
            stack.extend(reversed(cast("list[object]", node)))


def join_names(reference: Node) -> str | None:
    """Return `a.b.c` for a reference made of names only, `["b"]` for `.b` included, else `None`."""
    first, steps = split(reference)
    name = variable(first)
    parts = [step for step in steps if isinstance(step, str) and _NAME.fullmatch(step)]
    return None if name is None or len(parts) < len(steps) else ".".join((name, *parts))


def line(node: Node) -> int:
    """Return the line of a node, 0 for a node that has none."""
    for inner in node.values():
        if isinstance(inner, dict) and "span" in inner:
            return cast("Node", inner)["span"]["line"]
    return 0


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` did you mean …?` with the known name that is closest, empty if none is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean `{close[0]}`?" if close else ""


def _fixed_part(reference: Node) -> tuple[str, ...]:
    first, steps = split(reference)
    parts = [variable(first) or ""]
    for step in steps:
        if not isinstance(step, str):
            break
        parts.append(step)
    return tuple(parts)


def _module(item: Node) -> Module:
    ast = item["ast"]
    file, contents = item["source"]["file"], item["source"]["contents"].encode()
    package = join_names(ast["package"]["refr"])
    if package is None:
        raise PolicyBroken(f"{file}:1: a quoted part in the package name", "use letters, digits and _ only")
    imports: dict[str, str] = {}
    lines: dict[str, int] = {}
    for entry in ast["imports"]:
        path = join_names(entry["refr"]) or ""
        alias = _words(contents, entry["as"]) if entry.get("as") else path.rpartition(".")[2]
        imports[alias] = path
        lines[alias] = line(entry["refr"])
    return Module(file, f"data.{package}", _Condenser(contents).condense(ast["rules"]), imports, lines)


def _words(contents: bytes, span: Node) -> str:
    """Return the text at a place that is counted in bytes."""
    return contents[span["start"] : span["end"]].decode()


class _Condenser:
    """Trees without the places of nodes but their lines, and with the names that a tree gives by their places only."""

    def __init__(self, contents: bytes) -> None:
        self._contents = contents
        self._spans: dict[int, Node] = {}

    def condense(self, tree: Any) -> Any:
        """Return the same tree, changed in place. No recursion, as in `nodes`."""
        stack: list[Any] = [tree]
        while stack:
            node = stack.pop()
            if isinstance(node, list):
                stack.extend(cast("list[Any]", node))
            elif isinstance(node, dict):
                self._shorten(cast("Node", node), stack)
        return tree

    def _shorten(self, node: Node, stack: list[Any]) -> None:
        for kind in _KINDS_WITH_NAMES & node.keys():
            self._name(node[kind])
        for key in _DROPPED & node.keys():
            del node[key]
        for key, value in node.items():
            if key == "span":
                node[key] = self._spans.setdefault(value["line"], {"line": value["line"]})
            elif key == "field":
                node[key] = [None, value[1]]
            else:
                stack.append(value)

    def _name(self, node: Node) -> None:
        """Put names in the place of places: the variables of `some x, y` and of `every k, v in …`."""
        if "vars" in node:
            node["vars"] = [_words(self._contents, span) for span in node["vars"]]
        for key in ("key", "value"):
            if node.get(key) and "start" in node[key]:
                node[key] = _words(self._contents, node[key])
