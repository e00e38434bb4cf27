"""Check the language of docstrings, messages and pages against CONTRIBUTING.md, "Language".

Texts from before the check are listed in `prose-known.txt` by digest, so a text has to pass once somebody changes it.
`--update` writes that list anew: it may only shrink, unless `--grow` says otherwise. Standard library only.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
KNOWN = Path(__file__).with_name("prose-known.txt")

MOST_WORDS = 25
"""Words of a sentence. The rule says 20; names and numbers take the rest."""
MOST_PRONOUNS = 0.1
"""Pronouns and relatives a word of a docstring, beyond the two that any may have."""
OPENINGS = frozenset(
    {"what", "whether", "who", "whom", "which", "how", "where", "why", "when", "that", "those", "whose"}
)
PRONOUN = re.compile(r"\b(what|which|who|whom|whose|whoever|whatever|that|those|one|it|them|they)\b", re.IGNORECASE)
MESSAGES = re.compile(r"Reason|Refusal|RefusalText|[A-Z]\w+(?:Error|Broken|Unreachable|Unavailable|Late|Stale)")
"""The classes whose text arguments people read: refusals and errors."""
EVENTS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
"""The methods of a log. An event has a name, and values that people read."""
GENERATED = ("docs/reference/", "docs/benchmarks/")

_SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z`*\[])")
_LISTED = re.compile(r"^\s*(?:\d+\.|[-*|]) |\S   +\S", re.MULTILINE)
"""A list or a table inside of a docstring."""
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_CODE = re.compile(r"`[^`\n]+`")
_METADATA = re.compile(r"^#   (?:message|remedy): (.+(?:\n#     .+)*)", re.MULTILINE)


class Text(NamedTuple):
    """A text that people read: its place, its words and its sort (docstring, message or page)."""

    file: str
    line: int
    sort: str
    words: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(" ".join(self.words.split()).encode()).hexdigest()[:12]


def main(arguments: list[str]) -> int:
    """Return 0 if each text is known or has no problem; print the others."""
    known = set(KNOWN.read_text("utf-8").split()) if KNOWN.exists() else set[str]()
    found = [(text, told) for text in texts() if (told := problems(text))]
    if "--update" in arguments:
        left = {text.digest for text, _ in found}
        kept = left if "--grow" in arguments else left & known
        KNOWN.write_text("".join(f"{digest}\n" for digest in sorted(kept)), "utf-8")
        print(f"{len(kept)} texts are still to be rewritten")
        return 0
    fresh = [(text, told) for text, told in found if text.digest not in known]
    for text, told in fresh:
        print(f"{text.file}:{text.line}: {'; '.join(told)}\n    {' '.join(text.words.split())[:160]}")
    if fresh:
        print(f'{len(fresh)} texts break the rules of CONTRIBUTING.md, "Language"', file=sys.stderr)
    return 1 if fresh else 0


def problems(text: Text) -> list[str]:
    """Return the rules that a text breaks, in words."""
    plain = _CODE.sub("X", _LINK.sub(r"\1", text.words))
    sentences = [part for block in plain.split("\n\n") if not _LISTED.search(block) for part in _SENTENCE.split(block)]
    told = [
        f"a sentence of {len(sentence.split())} words; write at most 20"
        for sentence in sentences
        if len(sentence.split()) > MOST_WORDS
    ][:1]
    first = re.match(r"\W*(\w+)", plain)
    if first and first[1].lower() in OPENINGS and text.sort == "docstring":
        told.append(f"it begins with {first[1]!r}; begin with a verb, or a class with a noun")
    if first and first[1].lower() in {"nobody", "whoever", "whatever"}:
        told.append(f"it begins with {first[1]!r}; name who acts")
    count = len(PRONOUN.findall(plain))
    if text.sort == "docstring" and count > 2 and count > MOST_PRONOUNS * len(plain.split()):
        told.append(f"{count} pronouns and relatives in {len(plain.split())} words; name the things")
    return told


def texts() -> Iterator[Text]:
    """Yield all texts of the package, the policy and the pages; generated pages come from these."""
    for path in sorted([*(ROOT / "gateway").rglob("*.py"), *(ROOT / "opagate").rglob("*.py")]):
        yield from _of_module(str(path.relative_to(ROOT)), path.read_text("utf-8"))
    for path in sorted((ROOT / "rego").rglob("*.rego")):
        source = path.read_text("utf-8")
        for match in _METADATA.finditer(source):
            line = source.count("\n", 0, match.start()) + 1
            yield Text(str(path.relative_to(ROOT)), line, "message", re.sub(r"\n#\s+", " ", match[1]))
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]):
        name = str(path.relative_to(ROOT))
        if not name.startswith(GENERATED):
            yield from _of_page(name, path.read_text("utf-8"))


def _of_module(file: str, source: str) -> Iterator[Text]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                # Sections of a long docstring (tables, examples, drawings) are no sentences.
                yield Text(file, getattr(node, "lineno", 1), "docstring", docstring.split("\n\n    ")[0])
        else:
            for argument in _read_by_people(node):
                words = _literal(argument)
                # A constant in several lines is SQL or a template.
                if len(words.split()) > 2 and "\n" not in words.strip():
                    yield Text(file, argument.lineno, "message", words)


def _read_by_people(node: ast.AST) -> list[ast.expr]:
    """Return the arguments of a refusal or an error, the values of a log event, help texts, and named sentences."""
    if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "Final" and node.value:
        return list(node.value.elts) if isinstance(node.value, ast.Tuple) else [node.value]
    return _of_call(node) if isinstance(node, ast.Call) else []


def _of_call(call: ast.Call) -> list[ast.expr]:
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    if MESSAGES.fullmatch(name):
        return call.args
    named = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    if name in EVENTS:
        return list(named.values())
    return [named[key] for key in ("help", "description") if key in named]


def _literal(node: ast.expr) -> str:
    """Return the text of a literal or an f-string, with `x` in the place of each value."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_literal(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "x"
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _of_page(file: str, source: str) -> Iterator[Text]:
    """Yield each paragraph and list item of a page; code, tables, headings and HTML are left out."""
    blanked = _FENCED.sub(lambda match: "\n" * match[0].count("\n"), source)
    block: list[str] = []
    start = 1
    for number, line in enumerate((*blanked.splitlines(), ""), start=1):
        item = re.match(r"\s*(?:[-*]|\d+\.) ", line)
        if block and (not line.strip() or item):
            yield Text(file, start, "page", "\n".join(block))
            block = []
        if line.strip() and not re.match(r"\s*[|#<!]|    ", line):
            start = start if block else number
            block.append(line[item.end() :] if item else line)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
