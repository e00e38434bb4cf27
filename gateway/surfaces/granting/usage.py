"""The use of the present grants: which of them recorded calls rest on, and since when not."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from gateway.record.journal.entry import find_unenforced
from gateway.surfaces.replay.rebuilt import rebuild_question

if TYPE_CHECKING:
    from gateway.model.wire import JsonObject
    from gateway.policy.policy import Policy


class GrantUse(NamedTuple):
    """A grant with its calls. `last` is the time of the last one, `None` for a grant that no recorded call rests on."""

    upstream: str
    grant: Mapping[str, Any]
    calls: int = 0
    last: str | None = None


async def find_uses(
    grants: Mapping[str, Sequence[Mapping[str, Any]]], entries: Iterable[JsonObject], policy: Policy
) -> list[GrantUse]:
    """Return the use of each grant by the forwarded calls among entries of a journal.

    Where the journal keeps no values, a grant whose conditions may hold counts as used. Calls with an equal question are one
    question to the policy.
    """
    uses = {
        (name, index): GrantUse(name, grant) for name, listed in grants.items() for index, grant in enumerate(listed)
    }
    ends = sorted(str(use.grant["until"]).removesuffix("Z") for use in uses.values() if "until" in use.grant)
    answers: dict[tuple[str, int], tuple[tuple[str, int], ...]] = {}
    for entry in entries:
        if entry["kind"] != "call" or entry.get("effect") != "allow" or find_unenforced(entry) is not None:
            continue
        # After the end of a grant the same question has another answer.
        key = _key_of(entry), bisect(ends, str(entry["time"]).removesuffix("Z"))
        if key not in answers:
            answers[key] = await _find_grants(policy, entry)
        for place in answers[key]:
            if (use := uses.get(place)) is not None:
                uses[place] = use._replace(calls=use.calls + 1, last=max(use.last or "", str(entry["time"])))
    return list(uses.values())


def _key_of(entry: JsonObject) -> str:
    """Return a text that is equal for calls with the same caller, target and arguments."""
    fields = cast("Mapping[str, Any]", entry)
    who = {name: value for name, value in fields["principal"].items() if name != "token_id"}
    arguments = {name: value for name, value in fields["arguments"].items() if name != "bytes"}
    return repr((who, fields["target"], arguments, fields["action"]))


async def _find_grants(policy: Policy, entry: JsonObject) -> tuple[tuple[str, int], ...]:
    """Return the places of the grants that a call may rest on; none for an entry that lacks a part."""
    try:
        asked = rebuild_question(entry)
    except (KeyError, TypeError, ValueError, AttributeError):
        return ()
    return tuple((fit.upstream, fit.index) for fit in await policy.fits(asked) or () if not fit.failed)
