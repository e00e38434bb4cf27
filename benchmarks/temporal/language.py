"""The language of the corpus: its policies, formulas of the past, and traces, as trees. Pure.

A tree is a tuple with a name first. Conditions: `and`, `or`, `not`, `formerly`, `previous`, `since`, `event`, `compare`, `tp`,
`exists`, `is`. Terms: `context`, `scope`, `literal`, `any`, `variable`, `aggregate`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

_TOKEN: Final = re.compile(
    r'(?P<space>\s+|//[^\n]*)|(?P<text>"(?:\\.|[^"\\])*")|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>[A-Za-z_]\w*)'
    r"|(?P<mark>::|&&|\|\||==|!=|<=|>=|[(){}\[\],;:.<>!=*@+-])"
)
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u\{([0-9a-fA-F_]+)\}|(.))", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">="})

Tree = tuple[Any, ...]


class Unsayable(Exception):
    """A part of a policy or trace that declared facts, Rego, or this reader cannot say. Its text is the reason."""


class Clause(NamedTuple):
    """A `when` or `unless` of a policy."""

    is_unless: bool
    condition: Tree


class Policy(NamedTuple):
    """A `permit` or `forbid`. `head` has the conditions on principal, action and resource."""

    permits: bool
    head: tuple[Tree, ...]
    clauses: tuple[Clause, ...]


class Event(NamedTuple):
    """An event of a trace."""

    at: float
    action: str
    kind: str
    fields: Mapping[str, Any]
    principal: str
    resource: str


class Entity(str):
    """The name of an entity, such as `Drupe::OAuthUser::"alice"`."""

    __slots__ = ()


def read_policies(text: str) -> list[Policy]:
    """Return the policies of a file. Raise `Unsayable`."""
    reader, found = _Reader(text), list[Policy]()
    while not reader.is_over:
        found.append(reader.policy())
    return found


def read_trace(text: str) -> list[Event]:
    """Return the events of a trace. Raise `Unsayable`."""
    return [_Reader(line).event() for line in text.splitlines() if line.strip().startswith("@")]


class _Reader:
    """A reader of tokens."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise Unsayable(f"a character that the reader does not know: {text[at]!r}")
            if match.lastgroup != "space":
                self._tokens.append(match.group())
            at = match.end()
        self._at = 0

    @property
    def is_over(self) -> bool:
        return self._at >= len(self._tokens)

    def _peek(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _take(self, *expected: str) -> bool:
        """Pass these tokens if they come next."""
        if self._tokens[self._at : self._at + len(expected)] != [*expected]:
            return False
        self._at += len(expected)
        return True

    def _expect(self, *expected: str) -> None:
        if not self._take(*expected):
            raise Unsayable(f"a form that the reader does not know, at {self._peek() or 'the end'!r}")

    # --- policies ------------------------------------------------------------------------------------

    def policy(self) -> Policy:
        kind = self._next()
        if kind not in {"permit", "forbid"}:
            raise Unsayable("a definition of a macro" if kind == "def" else f"a statement {kind!r}")
        self._expect("(")
        head: list[Tree] = []
        while not self._take(")"):
            head.append(self._head())
            self._take(",")
        clauses: list[Clause] = []
        while self._peek() in {"when", "unless"}:
            is_unless = self._next() == "unless"
            is_temporal = self._take("temporal")
            if self._peek() != "{":
                raise Unsayable(f"a clause of {self._peek()!r}")
            self._expect("{")
            condition = self._condition() if is_temporal else self._alternatives()
            self._expect("}")
            clauses.append(Clause(is_unless, condition))
        self._expect(";")
        return Policy(kind == "permit", tuple(head), tuple(clauses))

    def _head(self) -> Tree:
        subject = ("scope", self._next())
        if self._take("is"):
            return ("is", subject, self._type())
        if self._take("in"):
            names = self._list() if self._peek() == "[" else [self._term()]
            return ("or", *(("compare", subject, "==", name) for name in names))
        return ("compare", subject, "==", self._term()) if self._take("==") else ("and",)

    def _list(self) -> list[Tree]:
        self._expect("[")
        found: list[Tree] = []
        while not self._take("]"):
            found.append(self._term())
            self._take(",")
        return found

    # --- conditions of Cedar -------------------------------------------------------------------------

    def _alternatives(self) -> Tree:
        found = [self._conjunction()]
        while self._take("||"):
            found.append(self._conjunction())
        return ("or", *found) if len(found) > 1 else found[0]

    def _conjunction(self) -> Tree:
        found = [self._plain()]
        while self._take("&&"):
            found.append(self._plain())
        return ("and", *found)

    def _plain(self) -> Tree:
        if self._take("!"):
            return ("not", self._plain())
        if self._peek() == "(":
            self._expect("(")
            inner = self._alternatives()
            self._expect(")")
            return inner
        left = self._term()
        if self._peek() in _COMPARISONS:
            return ("compare", left, self._next(), self._term())
        return ("compare", left, "==", ("literal", True))

    # --- formulas of the past ------------------------------------------------------------------------

    def _condition(self) -> Tree:
        found = [self._since()]
        while self._take("&&"):
            found.append(self._since())
        return ("and", *found) if len(found) > 1 else found[0]

    def _since(self) -> Tree:
        left = self._negated()
        if not self._take("since"):
            return left
        return ("since", left, self._within(), self._negated())

    def _negated(self) -> Tree:
        if self._take("!"):
            return ("not", self._negated())
        return self._conjunct()

    def _conjunct(self) -> Tree:
        if self._peek() in {"formerly", "previous"}:
            return (self._next(), self._within(), self._negated())
        if self._take("exists"):
            variable = self._binder()
            self._expect(".")
            return ("exists", variable, self._condition())
        if self._take("tp", "("):
            name = self._next()
            self._expect(")")
            return ("tp", name)
        begun = self._at
        try:
            return self._comparison()
        except Unsayable:
            self._at = begun
        if self._take("("):
            inner = self._condition()
            self._expect(")")
            return inner
        return self._predicate()

    def _comparison(self) -> Tree:
        left = self._term()
        if self._peek() not in _COMPARISONS:
            raise Unsayable("no comparison")
        return ("compare", left, self._next(), self._term())

    def _predicate(self) -> Tree:
        if self._peek(1) == "(":
            raise Unsayable("a call of a macro")
        named = self._term()
        if named[0] != "literal" or not isinstance(named[1], Entity):
            raise Unsayable(f"a form that the reader does not know, at {self._peek()!r}")
        self._expect("::")
        kind = self._next()
        fields: list[tuple[str, Tree]] = []
        while self._take("{"):
            while not self._take("}"):
                path = [self._next()]
                while self._take("."):
                    path.append(self._next())
                self._expect(":")
                fields.append((".".join(path), self._term()))
                self._take(",")
        return ("event", str(named[1]), kind, tuple(fields))

    def _within(self) -> int:
        self._expect("within")
        number, unit = self._next(), self._next()
        if unit not in _UNITS:
            raise Unsayable(f"a window of {number} {unit}")
        return int(number) * _UNITS[unit]

    def _binder(self) -> tuple[str, str]:
        self._expect("(")
        name = self._next()
        self._expect(":")
        kind = self._type()
        self._expect(")")
        return name, kind

    def _type(self) -> str:
        found = [self._next()]
        while self._take("::"):
            found.append(self._next())
        return "::".join(found)

    # --- terms ---------------------------------------------------------------------------------------

    def _term(self) -> Tree:  # noqa: C901, PLR0911 - one case for each form
        if self._peek() == "(":
            self._expect("(")
            inner = self._term()
            self._expect(")")
            return inner
        token = self._next()
        if token in {"sum", "count"} and self._peek() not in {".", ",", "}"}:
            return self._aggregate(token)
        if token in {"_", "*"}:
            return ("any",)
        if token.startswith('"'):
            return ("literal", _unescape(token))
        if re.fullmatch(r"-?\d+(\.\d+)?", token):
            return ("literal", float(token) if "." in token else int(token))
        if token in {"true", "false"}:
            return ("literal", token == "true")
        if token == "decimal" and self._take("("):
            text = _unescape(self._next())
            self._expect(")")
            return ("literal", float(text))
        if token in {"context", "principal", "resource"}:
            return self._path(token)
        if not re.fullmatch(r"[A-Za-z_]\w*", token):
            raise Unsayable(f"a term {token!r}")
        if self._peek() == "::":
            return ("literal", self._entity(token))
        if self._peek() == "(":
            raise Unsayable("a call of a macro")
        return ("variable", token)

    def _path(self, root: str) -> Tree:
        path: list[str] = []
        while self._peek() == "." and re.fullmatch(r"\w+", self._peek(1)) and self._peek(2) != "(":
            self._next()
            path.append(self._next())
        if root == "context":
            return ("context", ".".join(path))
        if path:
            raise Unsayable("an attribute of an entity")
        return ("scope", root)

    def _entity(self, first: str) -> Entity:
        parts = [first]
        while self._take("::"):
            token = self._next()
            if token.startswith('"'):
                return Entity(f'{"::".join(parts)}::"{_unescape(token)}"')
            parts.append(token)
        raise Unsayable("a name of a type as a term")

    def _aggregate(self, how: str) -> Tree:
        summed = self._next() if how == "sum" else ""
        self._expect("for")
        binders = [self._binder()]
        while self._take(","):
            binders.append(self._binder())
        self._expect(".")
        self._expect("where")
        return ("aggregate", how, summed, tuple(binders), self._condition())

    # --- traces --------------------------------------------------------------------------------------

    def event(self) -> Event:
        self._expect("@")
        at = float(self._next())
        scope = self._group() if self._take("scope") else {}
        if self._take("request_context"):
            self._group()
        parts = [self._next()]
        while self._take("::"):
            parts.append(self._next())
        if len(parts) < 3:
            raise Unsayable("an event without an action")
        action, kind = f'{"::".join(parts[:-2])}::"{_unescape(parts[-2])}"', parts[-1]
        fields = self._group()
        return Event(at, action, kind, fields, str(scope.get("principal", "")), str(scope.get("resource", "")))

    def _group(self) -> dict[str, Any]:
        """Return the members in parentheses or braces."""
        end = {"(": ")", "{": "}"}[self._next()]
        found: dict[str, Any] = {}
        while not self._take(end):
            name = self._next()
            name = _unescape(name) if name.startswith('"') else name
            while self._take("."):
                name = f"{name}.{self._next()}"
            self._expect(":")
            found[name] = self._value()
            self._take(",")
        return found

    def _value(self) -> Any:
        if self._peek() == "{":
            return self._group()
        if self._take("["):
            found: list[Any] = []
            while not self._take("]"):
                found.append(self._value())
                self._take(",")
            return found
        if self._take("null"):
            return None
        term = self._term()
        if term[0] != "literal":
            raise Unsayable(f"a value {term[0]}")
        return term[1]


def _unescape(token: str) -> str:
    def read(match: re.Match[str]) -> str:
        code = match[1] or match[2]
        return chr(int(code.replace("_", ""), 16)) if code else _ESCAPED.get(match[3], match[3])

    return _ESCAPE.sub(read, token[1:-1])
