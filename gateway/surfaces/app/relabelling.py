"""New labels of targets, for the history of open tasks. Pure.

The effect of a tool is judged anew in both directions. Sensitivity and trust only grow stricter: the agent keeps the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.history.events import NewLabels
from gateway.model.target import Effect, Sensitivity
from gateway.upstreams.catalogue.labels import highest, labels_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.config.changes import ConfigurationChange
    from gateway.config.upstreams import Upstream

_RANK: Final = {sensitivity: rank for rank, sensitivity in enumerate(Sensitivity)}


def find_new_labels(
    change: ConfigurationChange, before: Mapping[str, Upstream], listed: Mapping[str, Iterable[str]]
) -> dict[str, NewLabels]:
    """Return the new labels of the targets whose labels a change of the configuration concerns. `listed` are the names of tools."""
    found: dict[str, NewLabels] = {}
    for upstream in change.changed:
        found.update(_compare(upstream, before[upstream], change.after.upstreams[upstream], listed[upstream]))
    return found


def _compare(
    upstream: str, before: Upstream, after: Upstream, listed: Iterable[str]
) -> Iterator[tuple[str, NewLabels]]:
    untrusted = before.trust == "trusted" and after.trust == "untrusted"
    for name in sorted({*listed, *before.tools, *after.tools}):
        old, new = labels_for(name, before.tools), labels_for(name, after.tools)
        if old == new and not untrusted:
            continue
        is_other = (old.effect, old.assumed & {"effect"}, old.cases) != (
            new.effect,
            new.assumed & {"effect"},
            new.cases,
        )
        yield (
            f"{upstream}/{name}",
            NewLabels(
                # Nobody knows which case held for an earlier call, so the worst of the tool counts.
                write=new.effect is not Effect.READ if is_other else None,
                assumed=is_other and "effect" in new.assumed,
                sensitivity=_find_raised(old.sensitivity, new.sensitivity),
                untrusted=untrusted,
            ),
        )
    other = _find_raised(_most(before), _most(after))
    if untrusted or other is not Sensitivity.PUBLIC:
        yield f"{upstream}/", NewLabels(sensitivity=other, untrusted=untrusted)


def _most(upstream: Upstream) -> Sensitivity:
    """Return the highest sensitivity of the resources of an upstream."""
    return highest([Sensitivity.PUBLIC, *upstream.resources.values()])


def _find_raised(before: Sensitivity, after: Sensitivity) -> Sensitivity:
    """Return a sensitivity if it is higher than before, else the lowest, which adds nothing."""
    return after if _RANK[after] > _RANK[before] else Sensitivity.PUBLIC
