"""Labels proposed for tools, from what their server says of them: names, descriptions, schemas, annotations. Pure.

A server may lie, so nothing that it says makes a tool less guarded than a read of an untrusted system. Where words and an
annotation disagree, the stricter of the two is proposed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from gateway.model.target import Effect, Sensitivity
from gateway.model.wire import JsonObject
from gateway.upstreams.labelling.argument_roles import ArgumentRole, ToolUse, propose_roles
from gateway.upstreams.labelling.egress import commits, propose_egress, sends
from gateway.upstreams.labelling.saying import COUNT_ANYWHERE, STRENGTH, Proposed, Saying, Value, read_sayings
from gateway.upstreams.labelling.words import Verb, phrases_of, word_list, words_of

_EGRESSES: Final = (False, True)
_SENSITIVITIES: Final = tuple(Sensitivity)
_CONFIDENTIAL: Final = word_list("sensitivity", "confidential")
_PAYS: Final = word_list("roles", "receivers", "pays")
_NOTED: Final = word_list("roles", "receivers", "noted")


@dataclass(frozen=True, slots=True)
class Proposal:
    """The proposed labels of a tool. `doubt` says where its server's words disagree; empty if nowhere."""

    effect: Proposed[Effect]
    egress: Proposed[bool]
    sensitivity: Proposed[Sensitivity]
    roles: Mapping[str, ArgumentRole] = field(default_factory=dict[str, ArgumentRole])
    doubt: str = ""
    effect_key: tuple[str, ...] = ()
    """The key of an effect that its server states: a required argument for an idempotency key."""

    @property
    def fields(self) -> Mapping[str, Proposed[Any]]:
        """The labels beside the roles, by their names in a configuration."""
        return {"effect": self.effect, "egress": self.egress, "sensitivity": self.sensitivity}


@dataclass(frozen=True, slots=True)
class Reviewed:
    """Labels of a tool after a review by a person. `is_floor`: only a stricter label takes the place of a proposal."""

    effect: Effect
    egress: bool
    sensitivity: Sensitivity
    because: str
    is_floor: bool = False


def propose_labels(
    tools: Sequence[JsonObject], reviewed: Mapping[str, Reviewed] | None = None
) -> Mapping[str, Proposal]:
    """Return the proposal for each tool that a server lists, by its name. `reviewed` has labels of known tools."""
    known = reviewed or {}
    return {saying.name: _propose(saying, known.get(saying.name)) for saying in read_sayings(tools)}


def _propose(saying: Saying, reviewed: Reviewed | None) -> Proposal:
    effect, doubt = _effect(saying)
    if reviewed is not None and _counts(reviewed, STRENGTH, reviewed.effect, effect.value):
        effect, doubt = Proposed(reviewed.effect, reviewed.because), ""
    use = ToolUse(
        reads=effect.value is Effect.READ,
        destroys=saying.is_deletion,
        commits=commits(saying),
        pays=not _PAYS.isdisjoint(saying.words),
        sends=sends(saying) is not None,
        asides=saying.shared,
        notes=not _NOTED.isdisjoint(saying.words[:1]),
    )
    roles = propose_roles(saying.schema, use)
    egress, sensitivity = propose_egress(saying, effect.value, roles), _sensitivity(saying, effect.value)
    if reviewed is not None and _counts(reviewed, _EGRESSES, reviewed.egress, egress.value):
        egress = Proposed(reviewed.egress, reviewed.because)
    if reviewed is not None and _counts(reviewed, _SENSITIVITIES, reviewed.sensitivity, sensitivity.value):
        sensitivity = Proposed(reviewed.sensitivity, reviewed.because)
    key = () if effect.value is Effect.READ else _find_idempotency_key(saying.schema)
    return Proposal(effect, egress, sensitivity, roles, doubt, key)


def _find_idempotency_key(schema: Any) -> tuple[str, ...]:
    """Return the pointer of a required argument for an idempotency key. A hint or an optional argument is not sure."""
    required = cast("Mapping[str, Any]", schema).get("required") if isinstance(schema, Mapping) else None
    found = [name for name in ("idempotency_key", "idempotencyKey") if isinstance(required, list) and name in required]
    return tuple(f"/{name}" for name in found[:1])


def _counts(reviewed: Reviewed, ranks: Sequence[Value], known: Value, proposed: Value) -> bool:
    """Return whether a reviewed label takes the place of the proposed one."""
    return not reviewed.is_floor or ranks.index(known) > ranks.index(proposed)


def _effect(saying: Saying) -> tuple[Proposed[Effect], str]:
    """Return the stricter of what words and annotations say, and a sentence where they contradict each other."""
    worded, hinted = _by_words(saying), _by_hints(saying)
    if worded is None or hinted is None:
        return worded or hinted or Proposed(Effect.WRITE, "neither a known verb nor an annotation says less"), ""
    if worded.value == hinted.value:
        return Proposed(worded.value, f"{worded.because}; {hinted.because}"), ""
    milder, stricter = sorted((worded, hinted), key=lambda one: STRENGTH.index(one.value))
    contradicts = milder.value is Effect.READ or stricter.value in COUNT_ANYWHERE
    return stricter, f"{stricter.because}, but {milder.because}: the stricter counts" if contradicts else ""


def _by_words(saying: Saying) -> Proposed[Effect] | None:
    verb, first = saying.verb, saying.first_verb_of_description
    if first is not None and (verb is None or (verb.is_noun and not first.is_noun) or _belies(first, verb, saying)):
        found = _effect_of(first, saying, f"the description begins with `{first.word}`")
    elif verb is not None:
        found = _effect_of(verb, saying, f"the name has the verb `{verb.word}`")
    else:
        found = None
    if (thing := saying.runs_code) is not None and (found is None or found.value is Effect.WRITE):
        return Proposed(Effect.EXEC, f"`{thing}` runs code")
    if (file := saying.saved_file) is not None and found is not None and found.value is Effect.READ:
        return Proposed(Effect.WRITE, f"`{file}` names a file to save")
    return found


def _belies(first: Verb, verb: Verb, saying: Saying) -> bool:
    """Return whether the description begins with something far stronger than the name. A read may run a statement."""
    if first.effect not in COUNT_ANYWHERE or first.is_noun:
        return False
    runs_a_read = first.effect is Effect.EXEC and verb.effect is Effect.READ and saying.runs_statements
    return not runs_a_read and STRENGTH.index(first.effect) > STRENGTH.index(verb.effect)


def _effect_of(verb: Verb, saying: Saying, because: str) -> Proposed[Effect]:
    if verb.is_umbrella and (stronger := saying.strongest_verb_told) is not None:
        return Proposed(stronger.effect, f"{because}, and its words have `{stronger.word}`")
    if verb.effect is Effect.WRITE and (switch := saying.destructive_switch) is not None:
        return Proposed(Effect.DESTRUCTIVE, f"{because}, and `{switch}` may destroy")
    if verb.effect is not Effect.EXEC:
        return Proposed(verb.effect, because)
    if language := saying.runs_statements:
        return Proposed(Effect.DESTRUCTIVE, f"{because}, and what `{language}` says may destroy")
    if verb.is_noun and saying.verb != verb and saying.runs_code is None:
        return Proposed(Effect.WRITE, because)
    return Proposed(Effect.EXEC, because)


def _by_hints(saying: Saying) -> Proposed[Effect] | None:
    """Return the effect by annotations. An overwriting verb explains a `destructiveHint`: it replaces content."""
    if saying.is_read_only:
        if not saying.name.isascii():
            return Proposed(Effect.WRITE, "the name has letters that are not ASCII, so no hint makes it a read")
        return Proposed(Effect.READ, "annotation readOnlyHint: true")
    if saying.hints.get("destructiveHint") is True:
        return _by_hint_of_destruction(saying)
    for name in ("readOnlyHint", "destructiveHint"):
        if saying.hints.get(name) is False:
            return Proposed(Effect.WRITE, f"annotation {name}: false")
    return None


def _by_hint_of_destruction(saying: Saying) -> Proposed[Effect]:
    verb = saying.verb
    if choice := saying.destructive_choice:
        return Proposed(Effect.DESTRUCTIVE, f"annotation destructiveHint: true, and the choice `{choice}`")
    writes = verb is not None and verb.effect is Effect.WRITE and not verb.is_umbrella
    if verb is not None and writes and (not verb.adds or "destructiveHint" in saying.uniform):
        return Proposed(Effect.WRITE, f"annotation destructiveHint: true, explained by `{verb.word}`")
    return Proposed(Effect.DESTRUCTIVE, "annotation destructiveHint: true")


def _sensitivity(saying: Saying, effect: Effect) -> Proposed[Sensitivity]:
    """Return how sensitive the answer of a tool is. A mere write tells little."""
    found = _CONFIDENTIAL & (phrases_of(saying.words) | phrases_of(words_of(saying.description)))
    if not found or effect is Effect.WRITE:
        return Proposed(Sensitivity.INTERNAL, "no word says more")
    return Proposed(Sensitivity.CONFIDENTIAL, f"name or description has `{min(found)}`")
