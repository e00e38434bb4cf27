"""The METADATA annotations of rules → the table of reasons. Pure. A refusing rule carries its own code, message, remedy
and controls in an annotation block (the OPA documentation, "Metadata"). Rego reads them from `data.gateway.reasons`,
which `tools/generate.py` writes with this module. `rego.metadata.*` is not used at run time, since a plan has no metadata.

    # METADATA
    # title: Too many systems in one task
    # custom:
    #   code: fan-out/audiences
    #   message: this task has already reached as many systems as one task may
    #   remedy: finish the task, or open one whose contract names these systems
    #   controls: [ASI02]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from gateway.base import strict_yaml
from gateway.model.errors import PolicyBroken

_CODE = re.compile(r"[a-z0-9_-]+/[a-z0-9_-]+")
_TOKEN = re.compile(r'"(?P<text>(?:\\.|[^"\\\n])*)"|`(?P<raw>[^`]*)`|#[^\n]*')
_KEY = re.compile(r'"code"\s*:\s*$')
_PLACE = re.compile(r'(?:"\s*:|\bcode\s*[!:=]?=)\s*$')


@dataclass(frozen=True, slots=True)
class Annotation:
    """The annotation of a reason's rule. `line` is the start of its block, from 1."""

    code: str
    title: str
    message: str
    remedy: str
    controls: tuple[str, ...]
    file: str
    line: int

    @property
    def family(self) -> str:
        return self.code.partition("/")[0]


def parse(text: str, file: str) -> tuple[Annotation, ...]:
    """Return the annotations with a `custom.code` in one Rego file. Raise `PolicyBroken`, naming file and line."""
    found: list[Annotation] = []
    for line, block in _blocks(text):
        try:
            fields: object = strict_yaml.value(block)
        except strict_yaml.UnreadableYaml as error:
            raise _make_error(file, line + error.line, f"the METADATA block cannot be read: {error.problem}") from None
        custom = cast("dict[str, Any]", fields).get("custom") if isinstance(fields, dict) else None
        if isinstance(custom, dict) and "code" in custom:
            found.append(_annotation(cast("dict[str, Any]", fields), cast("dict[str, Any]", custom), file, line))
    return tuple(found)


def table(files: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """File name → Rego text, tests left out, becomes code → title, message, remedy, controls and family.

    Raises `PolicyBroken` if two rules carry the same code, if a code is used without an annotation, or if an annotated
    code is used nowhere.
    """
    known: dict[str, Annotation] = {}
    for file, text in sorted(files.items()):
        for item in parse(text, file):
            first = known.setdefault(item.code, item)
            if first is not item:
                raise _make_error(
                    file, item.line, f"the code {item.code!r} is already that of {first.file}:{first.line}"
                )
    _require_agreement(known, files)
    return {
        item.code: {
            "title": item.title,
            "message": item.message,
            "remedy": item.remedy,
            "controls": list(item.controls),
            "family": item.family,
        }
        for item in sorted(known.values(), key=lambda item: item.code)
    }


def _uses(text: str, known: Mapping[str, Annotation], families: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Yield the lines and codes of string literals that are reason codes, or stand where codes do.

    The id of a tool, `tickets/close`, looks like a code of a family that is called as its upstream is.
    """
    for token in _TOKEN.finditer(text):
        literal = token["text"] if token["text"] is not None else token["raw"]
        if literal is None or _CODE.fullmatch(literal) is None:
            continue
        place = _PLACE if literal.partition("/")[0] in families else _KEY
        if literal in known or place.search(text, max(0, token.start() - 40), token.start()):
            yield text.count("\n", 0, token.start()) + 1, literal


def _require_agreement(known: Mapping[str, Annotation], files: Mapping[str, str]) -> None:
    families = frozenset(item.family for item in known.values())
    used: set[str] = set()
    for file, text in sorted(files.items()):
        for line, code in _uses(text, known, families):
            if code not in known:
                raise _make_error(file, line, f"the code {code!r} is used, and no rule's annotation has it")
            used.add(code)
    for item in known.values():
        if item.code not in used:
            raise _make_error(item.file, item.line, f"the code {item.code!r} is annotated, and no rule gives it")


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    """Yield the METADATA blocks: the line each begins at, and its YAML without the comment marks."""
    start, block = 0, list[str]()
    for number, line in enumerate((*text.splitlines(), ""), start=1):
        stripped = line.strip()
        if start and stripped.startswith("#"):
            block.append(stripped[1:])
        elif start:
            yield start, "\n".join(block)
            start, block = 0, []
        if not start and re.fullmatch(r"#\s*METADATA", stripped):
            start = number


def _annotation(fields: Mapping[str, Any], custom: Mapping[str, Any], file: str, line: int) -> Annotation:
    code = custom["code"]
    if not isinstance(code, str) or _CODE.fullmatch(code) is None:
        raise _make_error(file, line, f"custom.code is {code!r}; write it like fan-out/audiences")
    for name, value in (
        ("title", fields.get("title")),
        ("custom.message", custom.get("message")),
        ("custom.remedy", custom.get("remedy")),
    ):
        if not isinstance(value, str) or not value.strip():
            raise _make_error(file, line, f"the annotation of {code!r} has no {name}")
    controls = custom.get("controls")
    if not isinstance(controls, list) or not all(isinstance(item, str) for item in cast("list[object]", controls)):
        raise _make_error(file, line, f"the annotation of {code!r} has no list custom.controls")
    texts = (fields["title"], custom["message"], custom["remedy"])
    title, message, remedy = (" ".join(text.split()) for text in texts)
    return Annotation(code, title, message, remedy, tuple(cast("list[str]", controls)), file, line)


def _make_error(file: str, line: int, problem: str) -> PolicyBroken:
    return PolicyBroken(f"{file}:{line}: {problem}", "mend the annotation of that rule")
