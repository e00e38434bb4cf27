"""Subject identifiers (RFC 9493, SSF 1.0 section 3) and the callers that they name. Pure.

A complex subject names one principal by several members, and a missing member is a wildcard. So is a member that the gateway cannot
judge, such as a device: an event ends too much rather than too little. Without a judged member, a subject names nobody.
"""

from __future__ import annotations

import json
from enum import Enum
from hashlib import sha256
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.model.caller import Principal
    from gateway.model.wire import Json, JsonObject

ALL_SESSIONS: Final = "ALL"
"""The session that Keycloak names when all sessions of a user end."""
_MEMBERS: Final = ("user", "application", "session", "group", "device", "tenant", "org_unit")
"""Members of a complex subject, the best for an index first."""
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "iss_sub": ("iss", "sub"),
    "jwt_id": ("iss", "jti"),
    "opaque": ("id",),
    "email": ("email",),
    "account": ("uri",),
    "uri": ("uri",),
    "did": ("url",),
    "phone_number": ("phone_number",),
    "saml_assertion_id": ("issuer", "assertion_id"),
}
_JUDGED: Final = frozenset({"iss_sub", "opaque", "uri", "did", "jwt_id"})
"""Formats of a user or an agent that the gateway can judge for each caller."""
_ADDRESSES: Final = frozenset({"email", "account"})
_JUDGEABLE: Final[Mapping[str, frozenset[str]]] = {
    "": _JUDGED | _ADDRESSES,
    "user": _JUDGED | _ADDRESSES,
    "application": _JUDGED,
    "session": _JUDGED - {"iss_sub"},
    "group": _JUDGED - {"iss_sub"},
}
"""Member → the formats that the gateway can judge for some callers."""
_BY_TOKEN: Final = frozenset({"jwt_id"})
"""The format that the gateway judges in any member: the id of a token names one token wherever it stands."""
_LONGEST: Final = 2048
_MOST_ALIASES: Final = 16

IndexKey: TypeAlias = "tuple[str, ...]"
ANYBODY: Final[IndexKey] = ("*",)
"""The key of a subject that no single identifier leads to."""


class Identifier(Struct, frozen=True):
    """One identifier: its format, and its values in the order of the format."""

    format: str
    values: tuple[str, ...]


class Member(Struct, frozen=True):
    """A part of a subject. One of the identifiers (aliases) is enough. The part of a simple subject has no name."""

    name: str
    identifiers: tuple[Identifier, ...]


class SignalSubject(Struct, frozen=True):
    """A subject. Without a member, it names every caller of its issuers."""

    members: tuple[Member, ...] = ()


class Judgement(Enum):
    """The relation of a member to a caller. `UNKNOWN`: the gateway does not know that property of the caller."""

    NAMED = "named"
    OTHER = "other"
    UNKNOWN = "unknown"


def read_subject(value: JsonObject) -> SignalSubject | None:
    """Return the subject of a `sub_id`, `None` for a malformed one."""
    if value.get("format") != "complex":
        member = _read_member("", value)
        return None if member is None else SignalSubject((member,))
    members = [_read_member(name, value[name]) for name in _MEMBERS if name in value]
    unknown = value.keys() - {"format", *_MEMBERS}
    if not members or unknown:
        # An unknown member would narrow the subject in a way that nobody here can judge.
        members += [_read_member(name, value[name]) for name in sorted(unknown)]
    found = tuple(member for member in members if member is not None)
    return SignalSubject(found) if found and len(found) == len(members) else None


def issuers_named(subject: SignalSubject) -> frozenset[str]:
    """Return the issuers that a subject names."""
    return frozenset(
        each.values[0]
        for member in subject.members
        for each in member.identifiers
        if each.format in {"iss_sub", "jwt_id"}
    )


def may_name(subject: SignalSubject) -> bool:
    """Return whether a subject can name anybody: the gateway can judge at least one of its members."""
    return not subject.members or any(_may_be_named(member) for member in subject.members)


def names(subject: SignalSubject, principal: Principal, issuers: frozenset[str]) -> bool:
    """Return whether a subject names a caller. `issuers` are those about whose users the transmitter may speak."""
    if principal.issuer not in issuers:
        # The caller is of another issuer, and so is all that a transmitter could say of it, but for an actor of its own issuer.
        return bool(subject.members) and all(_has_account(member, principal, issuers) for member in subject.members)
    is_named = not subject.members
    for member in subject.members:
        judgement = _judge(member, principal)
        if judgement is Judgement.OTHER:
            return False
        is_named = is_named or judgement is Judgement.NAMED
    return is_named


def names_session_only(subject: SignalSubject) -> bool:
    """Return whether a subject names single sessions or tokens, and so leaves the rest of its user alone."""
    return any(
        (member.name == "session" and not _is_every_session(member))
        or any(each.format == "jwt_id" for each in member.identifiers)
        for member in subject.members
    )


def index_keys(subject: SignalSubject) -> tuple[IndexKey, ...]:
    """Return keys of a subject. Each caller that the subject names has one of these keys (`caller_keys`)."""
    if len(subject.members) == 1 and subject.members[0].name != "group":
        keys = [_key(each) for each in subject.members[0].identifiers]
        return tuple(key for key in keys if key is not None) or (ANYBODY,)
    for member in subject.members:
        if member.name in {"user", "application"} and all(each.format in _JUDGED for each in member.identifiers):
            return tuple(key for each in member.identifiers if (key := _key(each)) is not None)
    return (ANYBODY,)


def caller_keys(principal: Principal) -> Iterable[IndexKey]:
    """Yield the keys of a caller."""
    yield ANYBODY
    for issuer, name in _accounts(principal):
        yield ("iss_sub", issuer, name)
        yield ("id", name)
        yield ("email", name.casefold())
    if principal.email is not None:
        yield ("email", principal.email.casefold())
    if principal.session is not None:
        yield ("id", principal.session)
    yield ("jti", principal.issuer, principal.token_id)
    yield ("id", principal.token_id)


def digest_subject(subject: SignalSubject) -> str:
    """Return the digest of a subject, for the record: a subject may hold an address of mail."""
    members = [
        [member.name, [[each.format, *each.values] for each in member.identifiers]] for member in subject.members
    ]
    return "sha256:" + sha256(json.dumps(members, separators=(",", ":")).encode()).hexdigest()


# --- reading ---------------------------------------------------------------------------------------


def _read_member(name: str, value: Json) -> Member | None:
    if not isinstance(value, dict):
        return None
    if value.get("format") == "aliases":
        items = value.get("identifiers")
        if not isinstance(items, list) or not 0 < len(items) <= _MOST_ALIASES:
            return None
        found = [_read_identifier(item) for item in items]
    else:
        found = [_read_identifier(value)]
    identifiers = tuple(each for each in found if each is not None)
    return Member(name, identifiers) if len(identifiers) == len(found) else None


def _read_identifier(value: Json) -> Identifier | None:
    """Return a subject identifier, or `None` if malformed. An identifier of an unknown format keeps no fields."""
    if not isinstance(value, dict):
        return None
    kind = value.get("format")
    if not isinstance(kind, str) or kind in {"aliases", "complex"} or not 0 < len(kind) <= _LONGEST:
        return None
    found = [value.get(field) for field in _FIELDS.get(kind, ())]
    texts = tuple(text for text in found if isinstance(text, str) and 0 < len(text) <= _LONGEST and text.isprintable())
    return Identifier(kind, texts) if len(texts) == len(found) else None


# --- judging ---------------------------------------------------------------------------------------


def _judge(member: Member, principal: Principal) -> Judgement:
    if len(member.identifiers) == 1:
        return _judge_identifier(member.name, member.identifiers[0], principal)
    judgements = {_judge_identifier(member.name, each, principal) for each in member.identifiers}
    for judgement in (Judgement.NAMED, Judgement.UNKNOWN):
        if judgement in judgements:
            return judgement
    return Judgement.OTHER


def _judge_identifier(member: str, each: Identifier, principal: Principal) -> Judgement:
    match each.format:
        case "iss_sub" if member in {"", "user", "application"}:
            return _judge_name(_is_account(principal, *each.values))
        case "email" | "account" if member in {"", "user"}:
            return _judge_address(each.values[0].removeprefix("acct:").casefold(), principal)
        case "jwt_id":
            return _judge_name(each.values == (principal.issuer, principal.token_id))
        case "opaque" | "uri" | "did":
            return _judge_id(member, each.values[0], principal)
        case _:
            return Judgement.UNKNOWN


def _judge_id(member: str, identifier: str, principal: Principal) -> Judgement:
    known = {name for _, name in _accounts(principal)}
    match member:
        case "user" | "application":
            return _judge_name(identifier in known)
        case "session":
            if identifier == ALL_SESSIONS or principal.session is None:
                return Judgement.UNKNOWN
            return _judge_name(identifier in {principal.session, principal.token_id})
        case "group":
            groups = () if principal.user is None else principal.user.groups
            return _judge_name(identifier in groups) if groups else Judgement.UNKNOWN
        case "":
            return _judge_name(identifier in known | {principal.session, principal.token_id})
        case _:
            return Judgement.UNKNOWN


def _judge_address(address: str, principal: Principal) -> Judgement:
    if address in {name.casefold() for _, name in _accounts(principal)}:
        return Judgement.NAMED
    return Judgement.UNKNOWN if principal.email is None else _judge_name(principal.email.casefold() == address)


def _may_be_named(member: Member) -> bool:
    formats = _JUDGEABLE.get(member.name, _BY_TOKEN)
    return not _is_every_session(member) and any(each.format in formats for each in member.identifiers)


def _judge_name(is_named: bool) -> Judgement:  # noqa: FBT001 - a conversion
    return Judgement.NAMED if is_named else Judgement.OTHER


def _accounts(principal: Principal) -> set[tuple[str, str]]:
    """Return the accounts behind a request: the user, the agent, and each actor between them."""
    names = {(principal.issuer, principal.id)}
    if principal.user is not None:
        names.add((principal.issuer, principal.user.id))
    if principal.subject is not None:
        names.add((principal.issuer, principal.subject))
    return names | {(actor.issuer or principal.issuer, actor.id) for actor in principal.delegation}


def _has_account(member: Member, principal: Principal, issuers: frozenset[str]) -> bool:
    return any(
        each.format == "iss_sub" and each.values[0] in issuers and _is_account(principal, *each.values)
        for each in member.identifiers
    )


def _is_account(principal: Principal, issuer: str, name: str) -> bool:
    """Return whether an account is behind a request. A signal asks it for each open lease."""
    if principal.issuer == issuer and (
        name in {principal.id, principal.subject} or (principal.user is not None and principal.user.id == name)
    ):
        return True
    return any(actor.id == name and (actor.issuer or principal.issuer) == issuer for actor in principal.delegation)


def _is_every_session(member: Member) -> bool:
    return member.name == "session" and all(each.values == (ALL_SESSIONS,) for each in member.identifiers)


def _key(each: Identifier) -> IndexKey | None:
    match each.format:
        case "iss_sub":
            return ("iss_sub", *each.values)
        case "email" | "account":
            return ("email", each.values[0].removeprefix("acct:").casefold())
        case "jwt_id":
            return ("jti", *each.values)
        case "opaque" | "uri" | "did":
            return ("id", each.values[0])
        case _:
            return None
