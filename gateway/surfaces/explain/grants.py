"""Grants beside a call, with their places and failing parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import structs

from gateway.model.errors import PolicyError
from gateway.policy import grants as grant_fits
from gateway.policy import grants as grant_places
from gateway.policy.folder import bundle, grant_files
from gateway.policy.folder.folders import PolicyFolders
from gateway.policy.grants import GrantPlace, Places
from gateway.record.journal.entry import find_unenforced

if TYPE_CHECKING:
    from gateway.config import PolicySettings
    from gateway.model.wire import JsonObject
    from gateway.policy.grants import Fit, GrantPart


def places(settings: PolicySettings) -> Places:
    """Return the places of the grants of the configured policy; nothing if their files are elsewhere, or cannot be read."""
    if not settings.has_files:
        return {}
    folders = PolicyFolders.configured(settings)
    found: dict[tuple[str, str | int], GrantPlace] = {}
    try:
        # An overlay has no grants.
        for source in bundle.read_folder(folders.policy, folders.grants).sources:
            inside = folders.policy / source.name
            files = grant_files.find_files(folders.grants) if source.at == _AT and folders.grants else (inside,)
            for file in files:
                _add_places(found, grant_places.find_grants(file.read_text("utf-8"), str(file), source.at))
    except (PolicyError, OSError, UnicodeDecodeError):
        return {}
    return found


def _add_places(found: dict[tuple[str, str | int], GrantPlace], more: Places) -> None:
    """Add the places of a further file. Its grants follow the grants of earlier files."""
    before = Counter(upstream for upstream, named in found if isinstance(named, int))
    for (upstream, named), place in more.items():
        found[upstream, named + before[upstream] if isinstance(named, int) else named] = place


_AT: Final = ("gateway", "grants")


def choose_grants(fits: Sequence[Fit]) -> tuple[Fit, ...]:
    """Return the grants for the call. If no grant covers the call, return the nearest grants."""
    return tuple(fit for fit in fits if fit.holds) or grant_fits.nearest(fits)


def choose_recorded(fits: Sequence[Fit], decision: JsonObject) -> tuple[Fit, ...]:
    """Return the grants for a recorded call, with the conditions settled that its reasons name."""
    entry = cast("Mapping[str, Any]", decision)
    pointers = {fact for reason in entry.get("reasons") or () for fact in reason.get("facts") or ()}
    allowed = entry["effect"] == "allow" and find_unenforced(decision) is None
    return choose_grants([settle(fit, pointers, allowed=allowed) for fit in fits])


def as_json(fits: Sequence[Fit], where: Places) -> list[dict[str, Any]]:
    """Return the grants for programs, each with its file and line, and the lines of its parts."""
    return [
        {
            "upstream": fit.upstream,
            "id": fit.id,
            "place": describe_place(fit, where),
            "holds": fit.holds,
            "approval": fit.asks,
            "failed": [_part(part, fit, where) for part in fit.failed],
            "undecided": [_part(part, fit, where) for part in fit.open],
        }
        for fit in fits
    ]


def _part(part: GrantPart, fit: Fit, where: Places) -> dict[str, Any]:
    place = find_place(fit, where)
    return {
        "part": part.name,
        "wanted": part.wanted,
        "found": part.found,
        "problem": part.problem or None,
        "place": None if place is None else place.of(part.name),
    }


def find_place(fit: Fit, where: Places) -> GrantPlace | None:
    """Return the place of a grant, if its file is known."""
    by_id = where.get((fit.upstream, fit.id)) if fit.id else None
    return by_id or where.get((fit.upstream, fit.index))


def describe_place(fit: Fit, where: Places) -> str | None:
    """Return the file and line of a grant."""
    place = find_place(fit, where)
    return None if place is None else f"{place.file}:{place.line}"


def settle(fit: Fit, pointers: Iterable[str], *, allowed: bool) -> Fit:
    """Return the fit with the open conditions named in the recorded reasons failed.

    `pointers` are the facts of the reasons, such as `/arguments/path`. An allowed call failed no condition.
    """
    if allowed or not fit.open:
        return fit
    failed = tuple(part for part in fit.open if _is_named(part, frozenset(pointers)))
    return structs.replace(
        fit, failed=(*fit.failed, *failed), open=tuple(part for part in fit.open if part not in failed)
    )


def _is_named(part: GrantPart, pointers: frozenset[str]) -> bool:
    return bool(part.pointer) and f"/arguments{part.pointer}" in pointers
