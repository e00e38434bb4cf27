"""The difference between the configuration in force and a changed file: what counts at once, and what needs a restart. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct
from pydantic import ValidationError

from gateway.config.authority import LeasedCredential
from gateway.config.loading import InvalidSettings
from gateway.config.problems import explain
from gateway.config.settings import Configuration

if TYPE_CHECKING:
    from gateway.config.settings import Limits
    from gateway.config.upstreams import Upstream

OF_POLICY: Final = ("task", "user", "agent")
"""The limits that are data of the policy."""
_RELOADED: Final = frozenset({"upstreams", "labels", "limits", "enforce", "observe_until", "tool_search"})
"""The sections that count without a restart."""
_TERMS: Final = frozenset(
    {
        "audience",
        "trust",
        "aggregates",
        "agent",
        "aliases",
        "tenant",
        "environment",
        "headers",
        "additional_arguments",
        "tools",
        "pinned_resources",
        "resources",
        "enforce",
        "observe_until",
    }
)
"""The settings of an upstream that say what it is. The way to the upstream stays the same without the others."""
_OF_LEASES: Final = _TERMS - {"audience"}
"""Those that count at once for an upstream with leased credentials: issuers know the others."""


class ConfigurationChange(Struct, frozen=True, kw_only=True):
    """A change of the configuration in force to `after`.

    `rebuilt` are the upstreams with another way to them, and `changed` the names of all changed settings by upstream.
    `waiting` are the places of the settings that need a restart. `limits` are the names of changed limits.
    `observing`: observe mode begins or ends for an upstream. `search`: the search among tools has other settings.
    """

    after: Configuration
    added: tuple[str, ...]
    removed: tuple[str, ...]
    rebuilt: tuple[str, ...]
    changed: dict[str, tuple[str, ...]]
    limits: tuple[str, ...]
    observing: bool
    search: bool
    waiting: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Return whether nothing comes into force."""
        return not (self.added or self.removed or self.changed or self.limits or self.observing or self.search)


def compare(running: Configuration, wanted: Configuration) -> ConfigurationChange:
    """Return the change from the configuration in force to a changed file."""
    waiting, limits = _find_waiting_sections(running, wanted), wanted.limits
    if running.policy.engine.kind == "opa":
        held = {name: getattr(running.limits, name) for name in OF_POLICY}
        waiting += [f"limits.{name}" for name in OF_POLICY if getattr(limits, name) != held[name]]
        limits = limits.model_copy(update=held)
    upstreams: dict[str, Upstream] = {}
    changed: dict[str, tuple[str, ...]] = {}
    for name, after in wanted.upstreams.items():
        before = running.upstreams.get(name)
        names = None if before is None else find_changed(before, after)
        if _needs_restart(before, after, names or ()):
            waiting.append(f"upstreams.{name}")
            if before is not None:
                upstreams[name] = before
            continue
        upstreams[name] = after
        if names:
            changed[name] = names
    after = _combine(running, wanted, upstreams, limits)
    return ConfigurationChange(
        after=after,
        added=tuple(sorted(upstreams.keys() - running.upstreams.keys())),
        removed=tuple(sorted(running.upstreams.keys() - upstreams.keys())),
        rebuilt=tuple(name for name, names in changed.items() if not _TERMS.issuperset(names)),
        changed=changed,
        limits=find_changed(running.limits, limits),
        observing=after.observed != running.observed,
        search=after.tool_search != running.tool_search,
        waiting=tuple(waiting),
    )


def _combine(
    running: Configuration, wanted: Configuration, upstreams: dict[str, Upstream], limits: Limits
) -> Configuration:
    """Return the configuration in force with what is taken from a changed file. Raises `InvalidSettings`.

    Some rules hold between sections, and the file was valid with sections that wait for a restart.
    """
    try:
        return running.with_changes(
            upstreams=upstreams,
            limits=limits,
            labels=wanted.labels,
            enforce=wanted.enforce,
            observe_until=wanted.observe_until,
            tool_search=wanted.tool_search,
            policy=running.policy.with_limits(limits.of_policy),
        )
    except ValidationError as error:
        raise InvalidSettings(
            "the part of the file that counts without a restart", explain(error, Configuration)
        ) from None


def find_changed(before: Upstream | Limits, after: Upstream | Limits) -> tuple[str, ...]:
    """Return the names of the settings in which two sections of one kind differ."""
    return tuple(name for name in type(before).model_fields if _differ(before, after, name))


def _find_waiting_sections(running: Configuration, wanted: Configuration) -> list[str]:
    # Limits of tasks stand in the data of the policy too.
    same_limits = wanted.model_copy(update={"policy": wanted.policy.with_limits(running.policy.limits)})
    return [name for name in type(wanted).model_fields if name not in _RELOADED and _differ(running, same_limits, name)]


def _needs_restart(before: Upstream | None, after: Upstream, changed: tuple[str, ...]) -> bool:
    """Return whether an upstream has leased credentials whose issuers would have to know of the change."""
    is_leased = any(each is not None and isinstance(each.credential, LeasedCredential) for each in (before, after))
    return is_leased and (before is None or not _OF_LEASES.issuperset(changed))


def _differ(before: object, after: object, name: str) -> bool:
    # The order of patterns counts: the later of two patterns has the last word.
    one: object = getattr(before, name)
    other: object = getattr(after, name)
    return one != other or (isinstance(one, dict) and isinstance(other, dict) and [*one] != [*other])
