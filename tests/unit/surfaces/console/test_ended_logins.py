"""A login that its identity provider ended, at the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from gateway.authority.signals.register import Signal
from gateway.authority.signals.subjects import read_subject
from gateway.surfaces.console.sessions import SESSIONS
from tests.signalling import ISSUER, account
from tests.unit.surfaces.console.visiting import Browser, person, visited

if TYPE_CHECKING:
    from pathlib import Path


def revoke(browser: Browser, name: str, at: float) -> None:
    """Take a signal into force, as the receiver does."""
    subject = read_subject({"format": "email", "email": name} if "@" in name else account(name))
    assert subject is not None
    signal = Signal("idp", frozenset({ISSUER}), subject, "session-revoked", at, "end")
    browser.there.gateway.signals.register.put(signal)


async def test_a_revoked_login_ends_its_sessions_at_the_console_alone(tmp_path: Path):
    async with visited(tmp_path) as stranger:
        old = stranger.visit(person("bob", "viewer", logged_in=100.0))
        later = stranger.visit(person("bob", "viewer", logged_in=300.0))
        other = stranger.visit(person("eve", "viewer", logged_in=100.0))
        sessions = stranger.there.gateway.store.of(SESSIONS)
        for browser in (old, later, other):
            await browser.log_in()
        before = await sessions.count()
        revoke(stranger, "bob", 200.0)

        assert (await old.get("/console")).status == 303
        assert (await later.get("/console")).status == 200
        assert (await other.get("/console")).status == 200
        assert await sessions.count() == before - 1


async def test_a_revoked_login_is_told_by_the_mail_too(tmp_path: Path):
    async with visited(tmp_path) as stranger:
        known = person("00u1", "viewer", logged_in=100.0)
        mailed = structs.replace(known, person=structs.replace(known.person, mail="Bob@corp.example"))
        old, other = stranger.visit(mailed), stranger.visit(known)
        revoke(stranger, "bob@corp.example", 200.0)

        assert (await old.get("/console")).status == 303
        assert (await other.get("/console")).status == 200
