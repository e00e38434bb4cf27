"""The definitions of one sort at one upstream, such as its tools: the seen, the pinned, and the resulting targets.

A frozen value; `fold` makes the next. A suspect is a definition that was seen in another form under this pin: it stays
so until a person pins again. The way of a call only looks targets up.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct

from gateway.base.json.schema import UnusableSchema, compile_schema
from gateway.base.letters import spell_out
from gateway.model.errors import ConfigurationError
from gateway.model.target import Effect, Labels, Pin, Target, TargetCredential
from gateway.upstreams.catalogue import labels, overlaps, pins
from gateway.upstreams.catalogue.pins import INSTRUCTIONS, Definition, Pinned, UnpinnableDefinition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.config import Upstream
    from gateway.model.wire import Json, JsonObject
    from gateway.upstreams.catalogue.overlaps import Overlap
    from gateway.upstreams.catalogue.pins import PinChange, Subject

Seen: TypeAlias = Definition | UnpinnableDefinition

MAX_KNOWN: Final = 4_096
"""Definitions of one sort that are known at one upstream. Any other is as one that is not listed: an upstream with new
names each time must not fill the memory, nor the lock file."""
MAX_PINNED: Final = 2 * MAX_KNOWN
"""Pins of one upstream, of one sort, beyond which none is made by first use any more."""
MAX_BYTES: Final = 64 * 2**20
"""Bytes of the definitions of one upstream, of one sort, that are held, those of pins among them: four times what one own
listing may have. A new one beyond it is as one that is not listed, and one that has changed as one that cannot be read."""

_READ: Final = Labels(effect=Effect.READ)


class DefinitionTerms(Struct, frozen=True, eq=False):
    """The configured side of definitions. `first_use`: the first definition seen is pinned without a person."""

    upstream: str
    settings: Upstream
    subject: Subject
    first_use: bool
    credential: TargetCredential | None = None


class Definitions(Struct, frozen=True, eq=False):
    """The knowledge of one sort. The lock file has the `pins`, and lacks the `fresh` pins of first use.

    `passing` are first uses seen in lists of clients alone. `shown` are the names of the gateway's own last listing.
    `made_from` has the definition behind each target.
    """

    terms: DefinitionTerms
    listed: bool = False
    pins: Mapping[str, Pinned] = {}
    fresh: Mapping[str, Pinned] = {}
    seen: Mapping[str, Seen] = {}
    shown: frozenset[str] = frozenset()
    suspects: Mapping[str, Seen] = {}
    passing: Mapping[str, Definition] = {}
    targets: Mapping[str, Target] = {}
    made_from: Mapping[str, Seen] = {}
    unreadable: tuple[str, ...] = ()

    def target(self, name: str) -> Target:
        """Return the target for a name, listed or not."""
        return self.targets.get(name) or self.make_target(name)

    def names(self) -> frozenset[str]:
        return frozenset(self.seen)

    def pinned(self) -> dict[str, Pinned]:
        """Return the pins by name. A pin of the file comes before one of first use."""
        return {**self.fresh, **self.pins}

    def known(self, name: str) -> Definition | None:
        """Return the trusted definition of a name."""
        pin = self.pins.get(name) or self.fresh.get(name)
        return pin.definition if pin else self.passing.get(name)

    def compared(self, said: Seen) -> Pin:
        """Return how the instructions in a client's answer compare with the pinned ones, regardless of earlier answers.
        Trust by first use applies only to the gateway's own listing."""
        if not self.listed:
            return Pin.UNKNOWN
        known = self.known(INSTRUCTIONS)
        if known is None:
            return self.without_pin
        return Pin.MATCH if isinstance(said, Definition) and said.digest == known.digest else Pin.CHANGED

    def changes(self, *, known: bool) -> tuple[PinChange, ...]:
        """Return the differences from the pins; for a suspect definition, the version behind the suspicion. `known`:
        see `compare`."""
        seen = {**self.seen, **self.suspects}
        return pins.compare(self.terms.upstream, self.terms.subject, self.pinned(), seen, known=known)

    def definitions(self) -> Iterable[Definition]:
        """Return all held definitions, each once."""
        pinned = (pin.definition for pin in (*self.pins.values(), *self.fresh.values()))
        seen = chain(self.seen.values(), self.suspects.values(), self.passing.values(), pinned)
        return {id(item): item for item in seen if isinstance(item, Definition)}.values()

    def renewed(self, name: str | None) -> tuple[tuple[Definition, ...], frozenset[str]]:
        """Return the definitions trusted by a person's pin of a name, or all changed definitions, as last listed, and
        the names of removed pins. Raises `ConfigurationError`."""
        changed = {change.name for change in self.changes(known=True)}
        names = self.names() & (changed if name is None else {name})
        gone = frozenset(self.pinned()) - self.names() if name is None else frozenset[str]()
        return tuple(self._trustworthy(each) for each in sorted(names)), gone

    def _trustworthy(self, name: str) -> Definition:
        seen = self.seen[name]
        if isinstance(seen, UnpinnableDefinition):
            problem = f"{self.terms.upstream}/{spell_out(name)} cannot be pinned: {seen.problem}"
            raise ConfigurationError(problem, "have the upstream mended")
        return seen

    def pinned_items(self) -> dict[str, Definition]:
        """Return the trusted definitions by name. After a listing, those alone that were listed as pinned."""
        names = sorted(self.pinned())
        found = {name: self.known(name) for name in names if not self.listed or self._state(name) is Pin.MATCH}
        return {name: item for name, item in found.items() if item is not None}

    def pinned_target(self, name: str) -> Target:
        """Return the target for a pinned definition that is shown. Before a listing, it is as pinned."""
        known = self.known(name)
        if self.listed or known is None:
            return self.target(name)
        return replace(self._make_target(name, Pin.MATCH, known), definition=known.digest)

    def states(self) -> dict[str, Pin]:
        """Return the state of each listed definition."""
        return {name: self._state(name) for name in sorted(self.seen)}

    def warnings(self) -> tuple[str, ...]:
        """Return what an operator should know of labels and unreadable definitions."""
        if not self.listed or self.terms.subject != "tool":
            return self.unreadable
        schemas = {
            name: item.document.get("inputSchema") for name, item in self.seen.items() if isinstance(item, Definition)
        }
        overlapping = tuple(overlap.sentence for overlap in self.overlaps())
        checked = labels.check(self.terms.upstream, self.terms.settings.tools, schemas) + tuple(
            self._unusable_schemas()
        )
        return checked + overlapping + self.unreadable

    def _unusable_schemas(self) -> Iterator[str]:
        """Yield a sentence for each schema of a tool that nothing can be compared with."""
        for name, item in self.seen.items():
            document: JsonObject = item.document if isinstance(item, Definition) else {}
            for field in ("inputSchema", "outputSchema"):
                found = compile_schema(document[field]) if document.get(field) is not None else None
                if isinstance(found, UnusableSchema):
                    yield f"{self.terms.upstream}/{spell_out(name)}: its {field} {spell_out(found.problem)}"

    def overlaps(self) -> tuple[Overlap, ...]:
        """Return the label patterns with different labels for a listed tool, or for a URI."""
        tools = overlaps.of_tools(self.terms.upstream, self.terms.settings.tools, self.seen)
        return tools + overlaps.of_resources(self.terms.upstream, self.terms.settings.resources)

    # --- judging ---

    def differs(self, name: str) -> bool:
        """Return whether the definition was last seen in another form than pinned."""
        seen, known = self.seen[name], self.known(name)
        return isinstance(seen, UnpinnableDefinition) or (known is not None and not pins.is_view_of(seen, known))

    def judge(self, name: str) -> tuple[Pin, str | None]:
        """Return the state of a definition, and the digest of its pin if the definition matches the pin."""
        pin = self._state(name)
        known = self.known(name) if pin is Pin.MATCH else None
        return pin, None if known is None else known.digest

    def make_target(self, name: str) -> Target:
        """Return the target of a name, made anew."""
        seen, (pin, digest) = self.seen.get(name), self.judge(name)
        target = self._make_target(name, pin, seen if isinstance(seen, Definition) else None)
        return target if digest is None else replace(target, definition=digest)

    def _make_target(self, name: str, pin: Pin, definition: Definition | None) -> Target:
        terms = self.terms
        return target_of(
            terms.upstream,
            terms.settings,
            terms.subject,
            name,
            pin=pin,
            definition=definition,
            credential=terms.credential,
        )

    def _state(self, name: str) -> Pin:
        if name not in self.seen or not self.listed:
            return Pin.UNKNOWN
        if name in self.suspects or self.differs(name):
            return Pin.CHANGED
        return self.without_pin if self.known(name) is None else Pin.MATCH

    @property
    def without_pin(self) -> Pin:
        """Return the state of a definition without a pin."""
        return Pin.UNPINNED if self.terms.first_use else Pin.UNREVIEWED


def target_of(
    upstream: str,
    settings: Upstream,
    subject: Subject,
    name: str,
    *,
    pin: Pin,
    definition: Definition | None,
    credential: TargetCredential | None = None,
) -> Target:
    """Return the target for `subject` and `name`, with its labels and the given state of its definition."""
    # Instructions stand for the upstream itself, the resource without a name. Prompts and resources are only read.
    is_tool, is_upstream = subject == "tool", subject == "instructions"
    document: JsonObject = definition.document if is_tool and definition is not None else {}
    return Target(
        "tool" if is_tool else "resource" if is_upstream or subject == "resource" else "prompt",
        upstream,
        "" if is_upstream else name,
        settings.audience,
        settings.tenant,
        settings.environment,
        settings.trust,
        labels=labels.labels_for(name, settings.tools) if is_tool else _READ,
        pin=pin,
        annotations=_annotations(document),
        schema=_describe_arguments(definition) if subject == "prompt" and definition else document.get("inputSchema"),
        output=document.get("outputSchema"),
        aggregates=settings.aggregates,
        is_agent=settings.agent,
        credential=credential,
        aliases=settings.aliases,
    )


def resource_of(
    upstream: str, settings: Upstream, name: str, labels: Labels, credential: TargetCredential | None
) -> Target:
    """Return a resource as the target of a call. The name is empty for the upstream itself."""
    place = (settings.audience, settings.tenant, settings.environment, settings.trust)
    return Target(
        "resource",
        upstream,
        name,
        *place,
        labels=labels,
        aggregates=settings.aggregates,
        is_agent=settings.agent,
        credential=credential,
    )


def _describe_arguments(definition: Definition) -> Json:
    """Return the arguments of a prompt as a schema: texts under the names of its definition, and no other."""
    listed = definition.document.get("arguments", [])
    items = listed if isinstance(listed, list) else []
    names = [name for item in items if isinstance(item, dict) and isinstance(name := item.get("name"), str)]
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}}


def _annotations(document: JsonObject) -> JsonObject:
    annotations = document.get("annotations")
    return annotations if isinstance(annotations, dict) else {}
