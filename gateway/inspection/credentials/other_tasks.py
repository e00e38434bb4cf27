"""Completes the content of a call by the credentials that any task of its caller was shown. Pure.

A caller may open as many tasks as it likes: if each knew only of its own credentials, a new task would know of none.
"""

from __future__ import annotations

from dataclasses import replace

from msgspec import structs

from gateway.base.json.walk import Leaves
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.finding import Finding
from gateway.inspection.credentials.origins import ShownToCaller
from gateway.inspection.credentials.uncommon_words import has_uncommon
from gateway.model.call import Call
from gateway.model.content import CallContent, Sighting


def concern(shown: ShownToCaller, task: str, audience: str) -> bool:
    """Return whether the content of a call of this task to this system may have to be completed."""
    return shown.is_beside(task) or shown.has_lost_beside(audience)


def completed(
    content: CallContent, call: Call, shown: ShownToCaller, task: str, detector: Detector, *, walked: Leaves
) -> CallContent:
    """Return the content with the credentials that another system has shown to other tasks, in whatever form. Where
    such a system has shown more than is kept, a call with an uncommon word is `unsure`. `walked` are the leaves of its arguments."""
    audience = call.target.audience
    if shown.has_lost_beside(audience) and _may_hold_lost(content, walked, shown):
        content = structs.replace(content, unsure=True)
    if not shown.is_beside(task):
        return content
    found = detector.inspect_leaves(walked, call.target.labels.roles, shown.index, new=False)
    here = [replace(item, fingerprint=shown.name(item.fingerprint, item.shingles)) for item in content.sightings]
    known = {item.fingerprint for item in here}
    more = [_sighting(item) for item in found.findings if item.fingerprint not in known]
    sightings = (replace(item, shown_by=shown.of_another(audience, item.fingerprint)) for item in (*here, *more))
    kept = tuple(item for item in sightings if item.fingerprint in known or item.shown_by is not None)
    theirs = (piece._replace(shown_by=shown.of_another(audience, piece.fingerprint)) for piece in found.pieces)
    pieces = (*content.pieces, *(piece for piece in theirs if piece.shown_by is not None))
    whole = content.complete and not found.incomplete
    return structs.replace(content, sightings=kept, complete=whole, pieces=pieces)


def _may_hold_lost(content: CallContent, walked: Leaves, shown: ShownToCaller) -> bool:
    """Return whether the call has a credential of unknown origin, or any other uncommon word. A goal that repeats the
    word changes nothing. Leaves that are not complete may have one."""
    if any(item.handle is None and item.fingerprint not in shown.systems for item in content.sightings):
        return True
    return not walked.complete or any(map(has_uncommon, walked.texts))


def _sighting(found: Finding) -> Sighting:
    return Sighting(found.fingerprint, found.detector, found.pointer, found.role, found.form)
