"""One-time codes and the systems that wait for them. Pure: no I/O, no clock, no randomness.

A code goes without a question to a system with an open request of this task. The code has to arrive after the request. A
planted code makes two codes, and a person is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.model.target import Role

if TYPE_CHECKING:
    from gateway.history.state import KnownCredential, TaskState
    from gateway.model.content import Sighting


def is_requested(state: TaskState, sighting: Sighting, known: KnownCredential, audience: str) -> bool:
    """Return whether a call gives its system, `audience`, the one-time code of an open request.

    The code stands undisguised in an argument for a credential. Another system showed the code first, after the answer to
    the request. No other system waits, and no other code has come since. A code is good for one system, and a request for one
    code. The same code may go to its system again.
    """
    if sighting.role is not Role.CREDENTIAL or sighting.form != "raw" or known.origin != "result" or known.minted:
        return False
    if sighting.fingerprint in state.given_codes:
        return state.given_codes[sighting.fingerprint] == audience
    since = state.code_requests.get(audience)
    if since is None or not _came_after(known, since):
        return False
    return not _another_waits(state, known, audience) and not _another_came(state, sighting, known, audience, since)


def _came_after(known: KnownCredential, since: int) -> bool:
    return known.call is not None and known.call > since


def _another_waits(state: TaskState, known: KnownCredential, audience: str) -> bool:
    return any(
        other not in {audience, known.audience} and _came_after(known, since)
        for other, since in state.code_requests.items()
    )


def _another_came(state: TaskState, sighting: Sighting, known: KnownCredential, audience: str, since: int) -> bool:
    return any(
        name != sighting.fingerprint
        and other.one_time == known.one_time
        and other.audience != audience
        and name not in state.given_codes
        and _came_after(other, since)
        for name, other in state.credentials.items()
    )
