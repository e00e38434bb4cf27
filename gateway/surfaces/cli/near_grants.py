"""Grants beside a call, for people, with their places and failing parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

from gateway.policy.grants import fits as grant_fits
from gateway.surfaces.cli.terminal import out, paint, pairs, plain, say, show
from gateway.surfaces.explain import grants

if TYPE_CHECKING:
    from gateway.policy.grants.fits import Fit, GrantPart
    from gateway.policy.grants.places import Places

_LONGEST: Final = 200
"""Characters of one value that are shown."""


def show_grants(fits: Sequence[Fit] | None, where: Places, target: str) -> None:
    """Print the grants from `choose_grants` for a call to `target`; `None` if nothing is known."""
    out.print()
    if fits is None:
        out.print("Neither the policy nor the record tells which grants are near.", style="yellow")
        return
    if not fits:
        say(f"No grant is for the upstream of {target}, and none for all upstreams.", style="bold")
        return
    if not any(fit.names_target for fit in fits):
        say(f"No grant names {target}. The nearest:", style="bold")
    for fit in fits:
        _show_grant(fit, where)


def _show_grant(fit: Fit, where: Places) -> None:
    word = "holds" if fit.holds else "does not hold" if fit.failed else "holds if its conditions do"
    style = "ok" if fit.holds else "refused" if fit.failed else "warn"
    name = fit.id or f"grant {fit.index + 1} of {fit.upstream}"
    out.print(paint(style, "grant"), plain(name), paint(style, word), style="bold")
    rows = pairs()
    rows.add_row(
        "place", plain(grants.describe_place(fit, where) or f"in OPA: upstream {fit.upstream}, grant {fit.index + 1}")
    )
    for label, text in _rows(fit, where):
        rows.add_row(label, plain(text))
    show(rows)


def _rows(fit: Fit, where: Places) -> Iterator[tuple[str, str]]:
    if fit.asks:
        yield "approval", "each call needs an approval"
    place = grants.find_place(fit, where)
    for part in fit.failed:
        at = "" if place is None else f"  ({place.of(part.name)})"
        yield part.name, part.problem or f"{_describe_wanted(part)}; the call has {_call_has(part)}{at}"
    for part in fit.open:
        yield part.name, f"{_describe_wanted(part)}; the arguments are not known here"


def _describe_wanted(part: GrantPart) -> str:
    wanted: object = part.wanted
    if part.pointer and isinstance(wanted, Mapping):
        tests = cast("Mapping[str, object]", wanted)
        return ", ".join(f"{test} {_short(value)}" for test, value in tests.items())
    return f"wanted {_short(part.wanted)}"


def _call_has(part: GrantPart) -> str:
    if not part.pointer:
        return _short(part.found)
    if part.found is None:
        return "a value that the journal does not keep"
    return "no such argument" if part.found == grant_fits.MISSING else _short(part.found[0])


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
