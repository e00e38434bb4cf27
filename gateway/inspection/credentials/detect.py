"""Detection of credentials in text. Pure. A value is a credential if a rule knows its form, or if it stands under a
credential's name. Private keys, JWTs, values of `Authorization` headers, user information of URLs, and one-time codes
(by the words around them) count too. Entropy alone never suffices. Public keys, certificates, digests, object ids,
cursors, placeholders and documented examples are no credentials."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from gateway.base.concurrency.worker_thread import AT_ONCE, give_way
from gateway.base.json.walk import Leaves, leaves
from gateway.base.text_cache import SHORT
from gateway.inspection.credentials import members, phrases, surroundings, tables
from gateway.inspection.credentials.calls import BY_ROLE, inspect, words_of
from gateway.inspection.credentials.finding import NOTHING, Finding, Hit, Inspection, Kind, KnownShingles, StandIn
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.forms import is_plain, string
from gateway.inspection.credentials.index import NO_INDEX, CredentialIndex
from gateway.inspection.credentials.members import CLOSING, QUOTES, Value, may_name, read_value
from gateway.inspection.credentials.named import (
    KEYS,
    LOCAL,
    NAMES,
    SHORT_NAMES,
    Strength,
    after_references,
    hit_of,
    is_generated,
    is_plausible,
    is_short_number,
    kept_strength,
    strength,
)
from gateway.inspection.credentials.ordinary import is_ordinary
from gateway.inspection.credentials.ruleset import REACH, CredentialRule, Ruleset, compiled, compiled_set
from gateway.inspection.credentials.surroundings import bare, is_dated, tell_code
from gateway.model.target import Role
from gateway.model.wire import JsonObject

_EXAMPLES: Final = re.compile(
    r"EXAMPLE|xxxx|XXXX|\*{4}|your[-_]|YOUR[-_]|placeholder|redacted|REDACTED|<|\$\{|0{12}|1234567890abc|abcdefghijkl"
)

TEXT_END: Final = b"\0"
"""The end of a text that goes on nowhere."""
BY_PLACE: Final = (
    frozenset(
        {
            "private-key",
            "putty-private-key",
            "jwt",
            "bearer",
            "basic",
            "userinfo",
            "presigned-url",
            "one-time-code",
            "named-password",
            "named-token",
            BY_ROLE,
        }
    )
    | phrases.DETECTORS
)
"""The detectors that are no rule of a file."""


def detectors(rules: Ruleset) -> frozenset[str]:
    """Return the possible detector names of credentials found by form or place."""
    return BY_PLACE | {rule.id for rule in rules.rules}


_BY_CONTEXT: Final = (
    *surroundings.SEARCHES,
    *phrases.SEARCHES,
    *surroundings.CODE_SEARCHES,
    *members.SEARCHES,
    *tables.SEARCHES,
)
"""The searches for credentials by the words around them."""
_SIGNS_OF_CONTEXT: Final = compiled_set(search.sign for search in _BY_CONTEXT)


class Detector:
    """Rules and fingerprints of one deployment. Has no state; safe to share."""

    def __init__(self, ruleset: Ruleset, fingerprints: Fingerprints) -> None:
        self.ruleset: Final = ruleset
        self.fingerprints: Final = fingerprints
        signs = [_NAMED_SIGN] if ruleset.signs is None else [ruleset.signs, _NAMED_SIGN]
        self._signs = compiled(_any_of(signs), groups=False)

    def hits(self, text: bytes) -> list[Hit]:
        """Yield each credential of a text (UTF-8) in order, none inside another. Of base64 of another, yield both."""
        # Two passes for all that is looked for settle nearly every text.
        sign = self._signs.search(text)
        around = _SIGNS_OF_CONTEXT(text)
        if sign is None and around is None and not self.ruleset.always:
            return []
        found = list[Hit]()
        if around is not None:
            for number in sorted(around):
                if len(text) > AT_ONCE:
                    give_way()
                found.extend(_BY_CONTEXT[number].find(text))
        if sign is not None or self.ruleset.always:
            first = len(text) if sign is None else sign.start()
            for rule, at in self.ruleset.candidates(text, first):
                if len(text) > AT_ONCE:
                    give_way()
                found.extend(_by_rule(rule, text, max(0, at - REACH) if rule.own else 0))
            found.extend(_by_name(text, first))
        found = [tell_code(hit, text) for hit in found if not is_dated(hit)]
        found = [replace(hit, value=bare(hit.value)) if hit.kind == "code" else hit for hit in found]
        kept = _apart(found, len(text)) if len(found) > 1 else found
        return [each for hit in kept for inner in (hit, *_inside(hit)) for each in _of_user(inner, text)]

    def whole_hits(self, text: bytes) -> list[Hit]:
        """Return the credentials of a text that goes on nowhere. A sign may stand at its end."""
        return self.hits(text + TEXT_END)

    def find(self, text: str) -> tuple[Finding, ...]:
        """Return the findings of a text as it stands."""
        return tuple(self.finding(hit) for hit in self.whole_hits(text.encode("utf-8", "surrogatepass")))

    def inspect(
        self,
        arguments: JsonObject,
        roles: Mapping[str, Role],
        known: KnownShingles | CredentialIndex | None = None,
        *,
        new: bool = True,
        handles: Mapping[str, StandIn] = MappingProxyType({}),
    ) -> Inspection:
        """Return the credentials in the arguments of a call: the task's known ones in any form, and new ones unless
        `new` is false. `known` may be an `CredentialIndex` for repeated use. `handles` are the handles in the arguments with
        their contents."""
        return self.inspect_leaves(leaves(arguments), roles, known, new=new, handles=handles)

    def inspect_leaves(
        self,
        walked: Leaves,
        roles: Mapping[str, Role],
        known: KnownShingles | CredentialIndex | None = None,
        *,
        new: bool = True,
        handles: Mapping[str, StandIn] = MappingProxyType({}),
    ) -> Inspection:
        """Do as `inspect` with the leaves of the arguments."""
        unnamed = new and not known and not handles and self._is_unnamed(walked, roles)
        # A long text has signs of encodings by chance, and the search below reads it once.
        if unnamed and walked.size <= AT_ONCE and is_plain(walked.data) and not self.hits(walked.data + TEXT_END):
            return NOTHING if walked.complete else _NOTHING_SO_FAR
        index = NO_INDEX
        if known:
            index = known if isinstance(known, CredentialIndex) else CredentialIndex(known)
        look = self.whole_hits if new else None
        return inspect(walked, roles, index, self.fingerprints, look=look, handles=handles, unnamed=unnamed)

    def _is_unnamed(self, walked: Leaves, roles: Mapping[str, Role]) -> bool:
        """Return whether no leaf may be a credential by its name or its role, as is usual."""
        if roles and Role.CREDENTIAL in roles.values():
            return False
        for leaf in walked.found:
            name = leaf.name
            if name and (kept_strength(name) if len(name) <= SHORT else strength(name)) is not None:
                return False
            if len(leaf.text) <= SHORT and (not leaf.member or may_name(name)):
                text = leaf.text.decode("utf-8", "replace")
                if kept_strength(text) is not None:
                    return False
        return True

    def word_of(self, fingerprint: str, text: str) -> str | None:
        """Return the word of a text that has a fingerprint; `None` if no single word has it."""
        return next((word for word in words_of(text) if self.fingerprints.of(word) == fingerprint), None)

    def finding(self, hit: Hit) -> Finding:
        return Finding(
            self.fingerprints.of(hit.value, hit.host),
            hit.detector,
            hit.kind,
            shingles=self.fingerprints.shingles(hit.value, hit.user, in_lines=hit.kind == "private-key"),
            host=hit.host,
            ordinary=_is_ordinary(hit),
        )


_NOTHING_SO_FAR: Final = Inspection(incomplete=True)


def _is_ordinary(hit: Hit) -> bool:
    """Return whether ordinary text may have the same value. A value with a form of its own cannot occur there."""
    if hit.kind == "code":
        return len(hit.value) < _LONG_CODE
    return hit.kind in {"named", "userinfo", "header"} and is_ordinary(hit.value)


_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]{4}){2,}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


_LOGINS: Final = frozenset({"docker-config-auth", "npm-auth"})
"""The rules whose values are a user and a password in base64."""


def _inside(hit: Hit) -> Iterator[Hit]:
    """Yield the decoded value of base64 under a credential's name, as in secrets of Kubernetes. Of a user and a password,
    yield the password."""
    login = hit.detector in _LOGINS
    if not (hit.kind == "named" or login) or _BASE64.fullmatch(hit.value) is None:
        return
    value = base64.b64decode(hit.value).rstrip(b"\r\n")
    if not value.isascii() or not (text := value.decode("ascii")).isprintable():
        return
    user, colon, password = text.partition(":")
    if login and colon and is_plausible(password, "password"):
        yield replace(hit, value=password, user=user)
    elif is_plausible(text, "password"):
        yield replace(hit, value=text)


# --- whose it is -----------------------------------------------------------------------------------

_USER_NAME: Final = compiled(
    r"(?i)(?:user(?:[ _-]?(?:name|id))?|login|e-?mail|account|uid)[\"'\x60\\]{0,6}\s{0,4}[:=>]\s{0,4}[\"'\x60\\]{0,6}([A-Za-z0-9_.@+-]{3,64})"
)
_NEAR_USER: Final = 256
"""Bytes before and after a password in which the name of its user is looked for."""
_OF_USERS: Final[frozenset[Kind]] = frozenset({"named", "userinfo", "header"})


def _of_user(hit: Hit, text: bytes) -> Iterator[Hit]:
    """Yield the hit with the name of its user, if the name is a part of the password. Yield nothing if the name is all of
    the password. Other text may have the name anywhere."""
    value = hit.value.lower()
    names = [hit.user]
    if hit.kind in _OF_USERS and len(value) <= 2 * _LONGEST_NAME:
        around = text[max(0, hit.start - _NEAR_USER) : hit.end + _NEAR_USER]
        names += [string(around[slice(*match.span(1))]) for match in _USER_NAME.finditer(around)]
    names = [part.lower() for name in names for part in (name, name.partition("@")[0])]
    inside = [name for name in names if len(name) >= _SHORTEST_NAME and name in value and is_ordinary(name)]
    if value not in inside:
        yield replace(hit, user=max(inside, key=len)) if inside else hit


_SHORTEST_NAME: Final = 3
_LONGEST_NAME: Final = 64
_LONG_CODE: Final = 6
_ORDER: Final[dict[Kind, int]] = {
    "private-key": 0, "format": 1, "jwt": 2, "presigned": 3, "userinfo": 4, "header": 5, "named": 6, "code": 7,
}  # fmt: skip


def _apart(found: list[Hit], size: int) -> list[Hit]:
    """Return the hits without those overlapped by a more specific hit."""
    kept: list[Hit] = []
    taken = bytearray(size)
    for hit in sorted(found, key=lambda hit: (_ORDER[hit.kind], hit.start - hit.end, hit.start)):
        if taken.find(1, hit.start, hit.end) < 0:
            taken[hit.start : hit.end] = b"\1" * (hit.end - hit.start)
            kept.append(hit)
    return sorted(kept, key=lambda hit: hit.start)


def _by_rule(rule: CredentialRule, text: bytes, position: int) -> Iterator[Hit]:
    for match in rule.regex.finditer(text, position):
        start, end = rule.secret(match)
        if start == end or not rule.accepts(text, match, (start, end)):
            continue
        value = string(text[start:end])
        if not (rule.own and _EXAMPLES.search(value)):
            yield Hit(rule.id, "format", start, end, value)


# --- by name ---------------------------------------------------------------------------------------


_BLOCK: Final = r"(?:[|>][+-]?[0-9]?[ \t]*\r?\n[ \t]+|!!str |&[A-Za-z0-9_-]+ |(?:\$\(cat )?<<[-~]?[\"']?[A-Za-z_]{1,16}[\"']?\r?\n[ \t]*)?"
"""Between a name and its value: the sign of a block of YAML or of a here-document, a type, an anchor."""
_ATTRIBUTES: Final = r"(?:\s[A-Za-z:_-]+=[\"'][^\"'<>\n]*[\"'])+\s?>\s*"
_TAGS: Final = r"(?:\s{0,16}</?[A-Za-z][^<>\n]{0,80}>){2,5}\s{0,16}"
"""Between the name and the value of a property list, and of two cells of a table in HTML."""
_GAP: Final = r"\s{0,4}(?:\t|  |\.{3})[\s.]{0,64}"
"""Between the columns of a terminal."""
_SIGNS: Final = r"(?:=>|:=|=|:|>|：|\||│|┃|║|→|⇒)"
_NAMED_SIGN: Final = (
    rf"(?i)(?:(?:{NAMES})(?:[A-Za-z0-9_-]|\.[A-Za-z]){{0,40}}|{SHORT_NAMES}){QUOTES}\]?"
    rf"(?:{_TAGS}|{_ATTRIBUTES}"
    rf"|\*{{0,2}}(?: \([^()\n]+\))?\s{{0,4}}{_SIGNS}\*{{0,2}}\s{{0,4}}\*{{0,2}}(?:<!\[CDATA\[)?{_BLOCK}"
    rf"|{_GAP}|\s{{1,4}}(?:(?:for|of)(?: \S{{1,32}}){{1,8}} )?(?:is|was)\s{{0,2}}:?\s{{1,4}})"
    rf"|--(?:[a-z0-9]{{1,20}}-){{0,3}}(?:{NAMES})[a-z0-9-]{{0,20}} "
)
_NAMED: Final = compiled(_NAMED_SIGN, groups=False)
_SEVERAL: Final = re.compile(rf"(?:{KEYS})[ _-]key|({LOCAL})", re.IGNORECASE)
"""Names that may be of several words, or of other letters than those of ASCII: the group."""
_LONGEST_SEVERAL: Final = 32
_ALIAS: Final = re.compile(rb":\s{1,4}\*$")
"""What stands before the name of a YAML anchor."""
_NAME_PART: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.")
_AROUND: Final = b" \t\r\n\f\v\"'`\\]"
_PREFIX: Final = re.compile(rb"base64:|([A-Za-z0-9_.-]{1,64}=)(?=[^=])")
"""What stands before a value and is no part of it; the group is the name of a cookie."""
_DIGIT: Final = re.compile(rb"[0-9]")
_NEAR: Final = 140
"""Bytes in which the first digit of a random value is."""
_NAME_LENGTH: Final = 96
_BRIEF: Final = 4
_LEAST: Final = 8
_LOOSE: Final = (b"is", b"was", b"|", b")", *(mark.encode() for mark in "│┃║→⇒"))
"""Ends of signs after which prose may follow."""
_SPACE: Final = re.compile(rb"\s{0,64}")
_CALLED: Final = re.compile(r"[A-Za-z_.]*")
"""The name of a function, or of a variable."""
_NAMED_SO: Final = re.compile(r"passw(?:or)?d|passphrase|secret|token|credential", re.IGNORECASE)
"""In the name of a variable that has a credential."""


def _by_name(text: bytes, position: int) -> Iterator[Hit]:
    while (head := _NAMED.search(text, position)) is not None:
        at, after = head.span()
        hit = _find_named(text, at, after)
        if hit is not None:
            yield hit
        # What was no value may itself begin with a name.
        position = after if hit is None else hit.end


class _NamedCredential(Struct, frozen=True):
    """The name of a credential, and the separator before the value."""

    kind: Strength
    is_cookie: bool
    sign: bytes
    local: bool
    """Whether it is of another language, where prose has the same word."""
    least: int
    """Characters of the shortest value. Two letters and a mark stand before anything in decoded noise."""
    is_apart: bool
    """Whether no more than white space or dots stand before the value, or much white space."""

    @property
    def needs_digit(self) -> bool:
        """Return whether a value without a digit near its beginning cannot be a credential."""
        return self.is_apart or self.kind != "password"

    @property
    def has_tags(self) -> bool:
        """Return whether the value is the content of another element than the name."""
        return self.sign.startswith(b"<")

    @property
    def in_element(self) -> bool:
        """Return whether the value is the content of an element."""
        return self.sign.endswith((b">", b"[cdata[")) and not self.sign.startswith((b":", b"="))


def _name_of(text: bytes, at: int, after: int) -> _NamedCredential | None:
    """Return the name that has a credential's word at `at`, and whose separator ends at `after`."""
    first = at
    while first > 0 and text[first - 1] in _NAME_PART and at - first < _NAME_LENGTH:
        first -= 1
    several = _SEVERAL.match(string(text[at : at + _LONGEST_SEVERAL]))
    last = at if several is None else at + len(several[0].encode())
    while last < after and text[last] in _NAME_PART:
        last += 1
    kind = strength(string(text[first:last]))
    if kind is None or _ALIAS.search(text[last:after]) is not None:
        return None
    sign = text[last:after].strip(_AROUND).lower()
    # Types that are joined by `|` have names of tokens and keys.
    if sign.endswith(b"|") and kind in {"token", "code", "pin"}:
        return None
    least = _LEAST if kind == "pass" and last - first < _BRIEF else 0
    is_option = text.startswith(b"--", at)
    is_apart = not (is_option or sign.strip(b".")) or text[after : after + 1].isspace()
    is_cookie = b"cookie" in text[at:last].lower()
    return _NamedCredential(kind, is_cookie, sign, several is not None and several[1] is not None, least, is_apart)


def _find_named(text: bytes, at: int, after: int) -> Hit | None:
    """Return the value after a name that has a credential's word at `at`, and whose separator ends at `after`."""
    name = _name_of(text, at, after)
    if name is None or (name.needs_digit and _DIGIT.search(text, after, after + _NEAR) is None):
        return None
    found = _SPACE.match(text, after)
    after = after if found is None else found.end()
    begin = after_references(text, after)
    if begin > after and is_plausible(reference := string(text[after:begin]), name.kind):
        return hit_of(name.kind, after, begin, reference)
    found = read_value(text, begin)
    if found is None or (begin > after and not is_generated(string(text[found.start : found.end]))):
        return None
    return _read(name, text, found) if not name.in_element or text.startswith((b"<", b"]]>"), found.end) else None


def _read(name: _NamedCredential, text: bytes, found: Value) -> Hit | None:
    """Return the value under a name, without the additions of its writing."""
    start, end = found.start, found.end
    prefix = _PREFIX.match(text, start, end)
    if prefix is not None and (prefix[1] is None or name.is_cookie):
        start = prefix.end()
    value = string(text[start:end])
    if found.is_bare:
        if _CALLED.fullmatch(value) is not None and (text.startswith(b"(", end) or _NAMED_SO.search(value) is not None):
            return None
        value = value.rstrip(CLOSING)
        end = start + len(value.encode("utf-8", "surrogatepass"))
    return hit_of(name.kind, start, end, value) if _fits(name, value, bare=found.is_bare) else None


def _fits(name: _NamedCredential, value: str, *, bare: bool) -> bool:
    """Return whether a name promises such a value. A `bare` one has no quotes around it."""
    loose = name.has_tags or (bare and (name.local or name.sign.rstrip(b":").endswith(_LOOSE)))
    if len(value) < name.least or (name.local and bare and not any(char.isdigit() for char in value)):
        return False
    if not bare and name.kind == "key" and is_short_number(value):
        return True
    if name.is_apart and bare and not is_generated(value):
        return False
    if _is_scheme(value) or not is_plausible(value, name.kind, structured=not loose):
        return False
    # Reports of tests write `PASS: name_of_test`.
    return name.kind != "pass" or not bare or name.sign.endswith(b"=") or not is_ordinary(value)


def _is_scheme(value: str) -> bool:
    """Return whether a value is the scheme before a credential in a header."""
    return value.partition(" ")[0].lower() in {"bearer", "basic", "dpop", "token", "digest", "negotiate", "ssws"}


def _any_of(expressions: Iterable[str]) -> str:
    return "|".join(f"(?:{expression})" for expression in expressions)
