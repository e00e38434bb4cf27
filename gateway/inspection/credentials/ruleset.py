"""Formats of credentials: our rule file, and any gitleaks configuration beside it.

It reads these parts of a gitleaks file (github.com/gitleaks/gitleaks, README "Configuration"): `rules` with `id`,
`regex`, `keywords`, `entropy`, `secretGroup`, `skipReport` and allowlists. It also reads global allowlists, with
`targetRules`, and `extend`, with a `path` relative to its own file. `extend.useDefault` changes nothing, since our
rules are always in force. A rule without an expression changes the entropy and the allowlists of the rule with its id.
Files and commits do not exist here: `path`, `paths` and `commits` match nothing. A rule is tried without its `required` parts.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from math import log2
from pathlib import Path
from typing import Final, Literal, Protocol, cast

import re2

from gateway.model.errors import ConfigurationError

OWN: Final = Path(__file__).with_name("rules.toml")
GRAMMAR: Final = Path(__file__).with_name("grammar.toml")
"""What our rules have beside: strict readers of gitleaks files refuse fields that they do not know."""
REACH: Final = 512
"""Bytes around a keyword in which a match of our rules begins; of other rules, whose form nobody knows, all are."""
_MEMORY: Final = 64 * 2**20
_HITS: Final = 256
"""Signs of rules in one text that are told apart."""
_DEPTH: Final = 8
"""Files that may extend one another."""
_SIGN: Final = 24
"""Bytes of the longest keyword of ours."""


class Re2Match(Protocol):
    """The used part of a google-re2 match, on bytes."""

    def span(self, group: int = 0) -> tuple[int, int]: ...
    def start(self, group: int = 0) -> int: ...
    def end(self, group: int = 0) -> int: ...
    def __getitem__(self, group: int) -> bytes | None: ...


class Re2Pattern(Protocol):
    """The used part of a google-re2 expression, on bytes."""

    @property
    def groups(self) -> int: ...
    @property
    def pattern(self) -> str: ...
    def search(self, text: bytes, pos: int | None = None, endpos: int | None = None) -> Re2Match | None: ...
    def finditer(self, text: bytes, pos: int | None = None, endpos: int | None = None) -> Iterator[Re2Match]: ...


class _Options(Protocol):
    log_errors: bool
    max_mem: int
    never_capture: bool


class _Re2Set(Protocol):
    """The used part of a google-re2 set of expressions."""

    def Add(self, pattern: str) -> int: ...  # noqa: N802 - its name there
    def Compile(self) -> None: ...  # noqa: N802 - its name there
    def Match(self, text: bytes) -> list[int] | None: ...  # noqa: N802 - its name there


class _Re2Sets(Protocol):
    def SearchSet(self, options: _Options) -> _Re2Set: ...  # noqa: N802 - its name there


class _Re2Engine(Protocol):
    """The used part of google-re2, which has no types."""

    error: type[Exception]
    Set: _Re2Sets

    def Options(self) -> _Options: ...  # noqa: N802 - its name there
    def compile(self, pattern: str, options: _Options) -> Re2Pattern: ...


_RE2: Final = cast("_Re2Engine", re2)


def compiled(expression: str, *, groups: bool = True) -> Re2Pattern:
    """Compile an RE2 expression for UTF-8 bytes. Without `groups` it reports only the place of a match, which costs
    less. Raises `ValueError` with the expression's fault."""
    try:
        return _RE2.compile(expression, _options(groups=groups))
    except _RE2.error as error:
        detail: object = error.args[0]
        raise ValueError(detail.decode() if isinstance(detail, bytes) else str(detail)) from None


def compiled_set(expressions: Iterable[str]) -> Callable[[bytes], list[int] | None]:
    """Compile a search in one pass over a text. It returns the numbers of matching expressions in no order, `None` without any."""
    found = _RE2.Set.SearchSet(_options(groups=False))
    for expression in expressions:
        found.Add(expression)
    found.Compile()
    return found.Match


def _options(*, groups: bool) -> _Options:
    options = _RE2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    options.never_capture = not groups
    return options


class _WhenTried:
    """An expression of ours, which is compiled when it is first tried: there are hundreds, of 7 KB each, and most never are."""

    __slots__ = ("_compiled", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._compiled: Re2Pattern | None = None

    def _try_rule(self) -> Re2Pattern:
        if self._compiled is None:
            self._compiled = compiled(self.pattern)
        return self._compiled

    @property
    def groups(self) -> int:
        return self._try_rule().groups

    def search(self, text: bytes, pos: int | None = None, endpos: int | None = None) -> Re2Match | None:
        return self._try_rule().search(text, pos, endpos)

    def finditer(self, text: bytes, pos: int | None = None, endpos: int | None = None) -> Iterator[Re2Match]:
        return self._try_rule().finditer(text, pos, endpos)


def escape_literal(word: str) -> str:
    """Return a literal in an RE2 expression, which knows fewer escapes than Python's."""
    return re.sub(r"([^\w\s-])", r"\\\1", word)


@dataclass(frozen=True, slots=True)
class Allowlist:
    """Exceptions from a rule's matches. `every`: all of its conditions must hold, in the place of any."""

    regexes: tuple[Re2Pattern, ...] = ()
    stopwords: tuple[bytes, ...] = ()
    target: Literal["secret", "match", "line"] = "secret"
    every: bool = False
    never: bool = False
    """It also asks for a path or a commit, and all conditions must hold: it never applies."""

    def allows(self, secret: bytes, match: bytes, line: bytes) -> bool:
        if self.never:
            return False
        subject = {"secret": secret, "match": match, "line": line}[self.target]
        lowered = secret.lower()
        checks: list[bool] = []
        if self.regexes:
            checks.append(any(regex.search(subject) is not None for regex in self.regexes))
        if self.stopwords:
            checks.append(any(word in lowered for word in self.stopwords))
        return bool(checks) and (all(checks) if self.every else any(checks))


@dataclass(frozen=True, slots=True)
class CredentialRule:
    """One format. `group` holds the credential; 0 means the first group that matched, or all of the match."""

    id: str
    regex: Re2Pattern = field(repr=False)
    keywords: tuple[str, ...] = ()
    entropy: float = 0.0
    group: int = 0
    allowlists: tuple[Allowlist, ...] = ()
    own: bool = True
    hint: str = ""
    example: str = ""
    description: str = ""

    def secret(self, match: Re2Match) -> tuple[int, int]:
        """Return the place of the credential in a match."""
        if self.group:
            return match.span(self.group)
        spans = (match.span(group) for group in range(1, self.regex.groups + 1))
        return next((span for span in spans if span[0] < span[1]), match.span())

    def accepts(self, text: bytes, match: Re2Match, span: tuple[int, int]) -> bool:
        """Return whether a match stands, by its entropy and the allowlists."""
        secret = text[slice(*span)]
        if self.entropy and shannon(secret) <= self.entropy:
            return False
        if not self.allowlists:
            return True
        start, end = match.span()
        line = text[text.rfind(b"\n", 0, start) + 1 : _line_end(text, end)]
        whole = text[start:end]
        return not any(allowlist.allows(secret, whole, line) for allowlist in self.allowlists)


class Ruleset:
    """Compiled rules behind one prefilter."""

    def __init__(self, rules: Iterable[CredentialRule]) -> None:
        self.rules: Final = tuple(rules)
        self.own: Final = all(rule.own for rule in self.rules)
        """Whether these are our rules alone, whose matches begin at most `REACH` before their keyword."""
        self._always = tuple(rule for rule in self.rules if not rule.keywords)
        self._keywords: dict[bytes, list[CredentialRule]] = {}
        for rule in self.rules:
            for keyword in rule.keywords:
                self._keywords.setdefault(keyword.encode(), []).append(rule)
        self._ranks = {word: rank for rank, word in enumerate(self._keywords)}
        self._starting: dict[bytes, list[bytes]] = {}
        """Keywords by their first two bytes, for there are hundreds. A shorter one stands by itself."""
        for word in self._keywords:
            self._starting.setdefault(word[:2], []).append(word)
        hints = [f"(?:{rule.hint})" for rule in self.rules if rule.hint]
        plain = {word for rule in self.rules if not rule.hint for word in rule.keywords}
        words = [escape_literal(word) for word in sorted(plain, key=len, reverse=True)]
        self.signs: Final = "(?i)" + "|".join(hints + words) if hints or words else None
        """An expression that matches, or begins to match, wherever a rule with keywords may."""
        self.always: Final = bool(self._always)
        """Whether some rules have no keyword, and may match anywhere."""
        self._present = compiled(self.signs, groups=False) if self.signs is not None else None
        self._named_by = lru_cache(maxsize=1_024)(self._rules_of)

    def candidates(self, text: bytes, position: int = 0) -> list[tuple[CredentialRule, int]]:
        """Return the rules that may match in `text`, each with the place of the first sign of it. Before `position`
        is none."""
        found: dict[str, tuple[CredentialRule, int]] = {rule.id: (rule, 0) for rule in self._always}
        hits = 0
        while self._present is not None and (match := self._present.search(text, position)) is not None:
            start, end = match.span()
            for rule in self._named_by(text[start : max(end, start + _SIGN)].lower()):
                found.setdefault(rule.id, (rule, start))
            hits += 1
            if hits > _HITS:
                # Text that is full of keywords is tried whole: the same work for every rule, whatever the text.
                return [(rule, 0) for rule in self.rules]
            position = start + 1
        return list(found.values())

    def _rules_of(self, sign: bytes) -> tuple[CredentialRule, ...]:
        """Return all rules with this keyword: several may begin at one place, and the search reports only one."""
        words = {
            word
            for at in range(len(sign))
            for start in (sign[at : at + 1], sign[at : at + 2])
            for word in self._starting.get(start, ())
            if sign.startswith(word, at)
        }
        ranked = sorted(words, key=self._ranks.__getitem__)
        return tuple({rule.id: rule for word in ranked for rule in self._keywords[word]}.values())


def load(*paths: Path) -> Ruleset:
    """Return the shipped rules and the rules of gitleaks configurations. Raises `ConfigurationError`."""
    rules = dict(_load_shipped())
    for path in paths:
        theirs = _read(path, own=False)
        for name in theirs.disabled:
            rules.pop(name, None)
        rules.update((rule.id, rule) for rule in theirs.rules)
        for change in theirs.changes:
            if (rule := rules.get(change.id)) is not None:
                rules[rule.id] = replace(
                    rule, entropy=change.entropy or rule.entropy, allowlists=(*rule.allowlists, *change.allowlists)
                )
    return Ruleset(rules.values())


@cache
def _load_shipped() -> Mapping[str, CredentialRule]:
    """Return the shipped rules by id, each with its grammar."""
    grammar = cast("dict[str, dict[str, str]]", tomllib.loads(GRAMMAR.read_text("utf-8")))
    return {rule.id: replace(rule, **grammar[rule.id]) for rule in _read(OWN, own=True).rules}


def shannon(data: bytes) -> float:
    """Bits a character."""
    size = len(data)
    return -sum(count / size * log2(count / size) for count in (data.count(byte) for byte in set(data)))


def _line_end(text: bytes, start: int) -> int:
    end = text.find(b"\n", start)
    return len(text) if end < 0 else end


# --- reading ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Change:
    """A rule without an expression: its changes to the rule with the same id."""

    id: str
    entropy: float
    allowlists: tuple[Allowlist, ...]


@dataclass(frozen=True, slots=True)
class _File:
    rules: tuple[CredentialRule, ...]
    changes: tuple[_Change, ...]
    disabled: tuple[str, ...]


def _read(path: Path, *, own: bool) -> _File:
    reader = _Reader(path, own=own)
    return reader.read_rules(reader.combine_documents(_document(path)))


def _document(path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}.", "Give a readable file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: is not TOML: {error}.", "Give a gitleaks configuration.") from None


class _Reader:
    """Turns a document into rules. Every problem names the file, the rule and the field."""

    def __init__(self, path: Path, *, own: bool, depth: int = 1) -> None:
        self._path = path
        self._own = own
        self._depth = depth

    def combine_documents(self, document: Mapping[str, object]) -> Mapping[str, object]:
        """Return the document combined with its `extend` file, as gitleaks combines them."""
        extend = self._table(document.get("extend", {}), "extend")
        if extend.get("url"):
            raise self._problem("extend", "names a URL, which is not read", "Keep a copy, and name its path.")
        if not (name := extend.get("path")):
            return document
        if not isinstance(name, str):
            raise self._problem("extend", "has a path that is no text", "Name a file.")
        if self._depth == _DEPTH:
            raise self._problem("extend", f"leads through more than {_DEPTH} files", "See whether one extends itself.")
        path = self._path.parent / name
        if not path.is_file():
            raise self._problem("extend", f"names {path}, which is not there", "A path is relative to its file.")
        below = _Reader(path, own=self._own, depth=self._depth + 1)
        base = below.combine_documents(_document(path))
        disabled = self._texts(extend, "disabledRules", "extend")
        further = below._table(base.get("extend", {}), "extend")
        return {
            "extend": {
                "useDefault": extend.get("useDefault") or further.get("useDefault"),
                "disabledRules": [*disabled, *below._texts(further, "disabledRules", "extend")],
            },
            "allowlists": [
                *self._allowlist_tables(document, "the file"),
                *below._allowlist_tables(base, "the file"),
            ],
            "rules": self._extend_rules(document, below._rule_tables(base), frozenset(disabled)),
        }

    def _extend_rules(
        self, document: Mapping[str, object], base: Mapping[str, Mapping[str, object]], disabled: frozenset[str]
    ) -> list[Mapping[str, object]]:
        """Return the rules of both documents: a shared rule takes its own fields, and the words of both."""
        tables = self._rule_tables(document)
        for name, table in base.items():
            if name in disabled:
                continue
            mine, where = tables.get(name, {}), f"rule {name}"
            tables[name] = {
                **table,
                **{field: value for field, value in mine.items() if value and field != "allowlist"},
                "keywords": self._texts(table, "keywords", where) + self._texts(mine, "keywords", where),
                "allowlist": None,
                "allowlists": self._allowlist_tables(table, where) + self._allowlist_tables(mine, where),
            }
        return list(tables.values())

    def _rule_tables(self, document: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
        return {
            self._name(table, number): table
            for number, table in enumerate(self._tables(document.get("rules", []), "rules"), 1)
        }

    def _name(self, table: Mapping[str, object], number: int) -> str:
        name = table.get("id")
        if not isinstance(name, str) or not name:
            raise self._problem(f"rule {number}", "has no id", "Give it one.")
        return name

    def read_rules(self, document: Mapping[str, object]) -> _File:
        """Return the rules of a combined document."""
        extend = self._table(document.get("extend", {}), "extend")
        shared: list[tuple[frozenset[str], Allowlist]] = []
        for table in self._allowlist_tables(document, "the file"):
            targets = frozenset(self._texts(table, "targetRules", "the file"))
            shared.append((targets, self._allowlist(table, "the file")))
        tables = self._rule_tables(document)
        rules = [rule for name, table in tables.items() if (rule := self._rule(table, name, shared)) is not None]
        changes = [
            _Change(name, self._entropy(table, f"rule {name}"), self._allowlists(table, name, shared))
            for name, table in tables.items()
            if not table.get("regex")
        ]
        return _File(tuple(rules), tuple(changes), tuple(self._texts(extend, "disabledRules", "extend")))

    def _rule(
        self, table: Mapping[str, object], name: str, shared: list[tuple[frozenset[str], Allowlist]]
    ) -> CredentialRule | None:
        where = f"rule {name}"
        expression = table.get("regex", "")
        if not isinstance(expression, str):
            raise self._problem(where, "has a regex that is no text", "Write an RE2 expression.")
        if not expression or table.get("skipReport") is True:
            return None
        regex = self._compile_rule(expression, where, "regex")
        group = table.get("secretGroup", 0)
        if not isinstance(group, int) or group < 0 or (group and group > regex.groups):
            raise self._problem(where, f"has no group {group!r} (secretGroup)", f"It has {regex.groups}.")
        return CredentialRule(
            id=name,
            regex=regex,
            keywords=tuple(word.lower() for word in self._texts(table, "keywords", where) if word),
            entropy=self._entropy(table, where),
            group=group,
            allowlists=self._allowlists(table, name, shared),
            own=self._own,
            description=str(table.get("description", "")),
        )

    def _entropy(self, table: Mapping[str, object], where: str) -> float:
        entropy = table.get("entropy", 0.0)
        if isinstance(entropy, bool) or not isinstance(entropy, int | float):
            raise self._problem(where, "has an entropy that is no number", "Give bits a character, as 3.5.")
        return float(entropy)

    def _allowlists(
        self, table: Mapping[str, object], name: str, shared: list[tuple[frozenset[str], Allowlist]]
    ) -> tuple[Allowlist, ...]:
        own = [self._allowlist(item, f"rule {name}") for item in self._allowlist_tables(table, f"rule {name}")]
        return (*own, *(allowlist for targets, allowlist in shared if not targets or name in targets))

    def _allowlist_tables(self, table: Mapping[str, object], where: str) -> list[Mapping[str, object]]:
        """Yield `allowlists`, and the older single `allowlist`."""
        old = table.get("allowlist")
        single = [self._table(old, f"{where}, allowlist")] if old is not None else []
        return single + self._tables(table.get("allowlists", []), f"{where}, allowlists")

    def _allowlist(self, table: Mapping[str, object], where: str) -> Allowlist:
        target = table.get("regexTarget", "") or "secret"
        if target not in {"secret", "match", "line"}:
            raise self._problem(where, f"has regexTarget {target!r}", "It is secret, match or line.")
        condition = str(table.get("condition", "") or "or").upper()
        if condition not in {"AND", "&&", "OR", "||"}:
            raise self._problem(where, f"has condition {condition!r}", "It is AND or OR.")
        every = condition in {"AND", "&&"}
        elsewhere = bool(self._texts(table, "paths", where) or self._texts(table, "commits", where))
        return Allowlist(
            regexes=tuple(
                self._compile_rule(item, where, "allowlist") for item in self._texts(table, "regexes", where)
            ),
            stopwords=tuple(word.lower().encode() for word in self._texts(table, "stopwords", where) if word),
            target=cast("Literal['secret', 'match', 'line']", target),
            every=every,
            never=every and elsewhere,
        )

    def _compile_rule(self, expression: str, where: str, what: str) -> Re2Pattern:
        if self._own:
            return _WhenTried(expression)
        try:
            return compiled(expression)
        except ValueError as error:
            raise self._problem(where, f"has a {what} expression that RE2 refuses: {error}", "Mend it.") from None

    def _texts(self, table: Mapping[str, object], name: str, where: str) -> list[str]:
        value = table.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in cast("list[object]", value)):
            raise self._problem(where, f"has {name} that are no list of texts", 'Write them as ["…", "…"].')
        return cast("list[str]", value)

    def _tables(self, value: object, where: str) -> list[Mapping[str, object]]:
        if not isinstance(value, list):
            raise self._problem(where, "is no list of tables", "Write [[…]].")
        return [self._table(item, where) for item in cast("list[object]", value)]

    def _table(self, value: object, where: str) -> Mapping[str, object]:
        if not isinstance(value, dict):
            raise self._problem(where, "is no table", "Write […].")
        return cast("Mapping[str, object]", value)

    def _problem(self, where: str, what: str, remedy: str) -> ConfigurationError:
        return ConfigurationError(f"{self._path}: {where} {what}.", remedy)
