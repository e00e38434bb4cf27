"""A server's own words about each of its tools. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from gateway.model.target import Effect
from gateway.model.wire import Json, JsonObject
from gateway.upstreams.labelling.words import VERBS, Verb, phrases_of, plain_words_of, stems_of, word_list, words_of

Value = TypeVar("Value")

STRENGTH: Final = list(Effect)
"""The effects, the strictest last."""
COUNT_ANYWHERE: Final = frozenset({Effect.DESTRUCTIVE, Effect.MINT, Effect.EXEC})
"""Effects of verbs that count at any place of a name."""
_SAME_OF: Final = 4
"""Tools with one and the same hint, from which on the hint tells no tool from another."""
_MOSTLY: Final = 0.9
_JOINS: Final = frozenset({"and", "or", "then"})
_RETURNS: Final = word_list("effects", "read_in_description")
_STATEMENTS: Final = word_list("effects", "statements")
_STATEMENT_ARGUMENTS: Final = word_list("effects", "statement_arguments")
_RUN_THINGS: Final = word_list("effects", "run_things")
_SAVES: Final = word_list("effects", "saves")
_REPLACES: Final = word_list("effects", "replaces")
_RUN_ARGUMENTS: Final = word_list("effects", "run_arguments")
_HINTS: Final = ("readOnlyHint", "destructiveHint", "openWorldHint")


@dataclass(frozen=True, slots=True)
class Proposed(Generic[Value]):
    """A proposed label with its reason."""

    value: Value
    because: str


@dataclass(frozen=True, slots=True)
class Saying:
    """The name, texts, schema and hints of one tool. `uniform` are hints that its server gives to all tools alike.

    `shared` are arguments that nearly all of its tools take, such as the account of the caller.
    """

    name: str
    description: str
    schema: Json
    hints: Mapping[str, Json]
    words: tuple[str, ...]
    verbs: tuple[Verb, ...]
    uniform: Collection[str] = ()
    shared: frozenset[str] = frozenset()

    @property
    def is_read_only(self) -> bool:
        """Return whether the server calls the tool a read."""
        return self.hints.get("readOnlyHint") is True

    @property
    def arguments(self) -> tuple[str, ...]:
        """The names of the arguments."""
        return argument_names(self.schema)

    @property
    def clear_verbs(self) -> tuple[Verb, ...]:
        """The verbs of the name that are no nouns."""
        return tuple(verb for verb in self.verbs if not verb.is_noun)

    @property
    def is_deletion(self) -> bool:
        """Return whether the name says that the tool destroys. Such a tool sends nothing."""
        return any(verb.effect is Effect.DESTRUCTIVE for verb in self.clear_verbs)

    @property
    def runs_statements(self) -> str | None:
        """The language of statements that the tool runs in a database."""
        words = {*self.words, *(word for name in self.arguments for word in words_of(name))}
        named = _STATEMENTS & {*words, *plain_words_of(self.description)}
        return min(named | (_STATEMENT_ARGUMENTS & words), default=None)

    @property
    def runs_code(self) -> str | None:
        """The thing that runs code: a word of the name, or the name of an argument."""
        argument = next((name for name in self.arguments if name.lower() in _RUN_ARGUMENTS), None)
        return argument or next((word for word in self.words if word in _RUN_THINGS), None)

    @property
    def verb(self) -> Verb | None:
        """The deciding verb of the name: the first, or a stronger verb at a later place.

        A later `write` counts only in a name with `and` or `or`.
        """
        heard = self.clear_verbs or self.verbs
        if not heard:
            return None
        joined = not _JOINS.isdisjoint(self.words)
        counted = [heard[0], *(verb for verb in heard[1:] if joined or verb.effect in COUNT_ANYWHERE)]
        return max(counted, key=lambda verb: STRENGTH.index(verb.effect))

    @property
    def first_verb_of_description(self) -> Verb | None:
        """The first word of the description, if it is a known verb."""
        first = next(iter(words_of(self.description)), "")
        if not _RETURNS.isdisjoint(stems_of(first)):
            return Verb(first, Effect.READ)
        return next((VERBS[stem] for stem in stems_of(first) if stem in VERBS), None)

    @property
    def strongest_verb_told(self) -> Verb | None:
        """Return the strongest verb among the words of the description and the choices of arguments, if it destroys or more."""
        told = (*words_of(self.description), *(word for text in _choices(self.schema) for word in words_of(text)))
        return _strongest(VERBS.get(stem) for word in told for stem in stems_of(word))

    @property
    def saved_file(self) -> str | None:
        """Return the argument that names a file to save, such as `localPath`; `None` without one."""
        return next((name for name in self.arguments if not _SAVES.isdisjoint(phrases_of(words_of(name)))), None)

    @property
    def destructive_choice(self) -> str | None:
        """Return the choice of an argument that destroys, such as the operation `delete`; `None` without one."""
        return next((text for text in _choices(self.schema) if _strongest(map(VERBS.get, words_of(text)))), None)

    @property
    def destructive_switch(self) -> str | None:
        """Return the name of a boolean argument with a destructive verb in it, such as `delete_branch`; `None` without one.

        An `overwrite` replaces content, as a write does.
        """
        members = _members(self.schema)
        switches = [
            name for name, shape in members.items() if isinstance(shape, dict) and shape.get("type") == "boolean"
        ]
        told = {name: [VERBS.get(word) for word in words_of(name) if word not in _REPLACES] for name in switches}
        return next((name for name, verbs in told.items() if _strongest(verbs)), None)


def _strongest(verbs: Iterable[Verb | None]) -> Verb | None:
    """Return the strongest of verbs that destroy or more, and are no nouns."""
    counted = [verb for verb in verbs if verb is not None and verb.effect in COUNT_ANYWHERE and not verb.is_noun]
    return max(counted, key=lambda verb: STRENGTH.index(verb.effect), default=None)


def _members(schema: Json) -> Mapping[str, Json]:
    members = schema.get("properties") if isinstance(schema, dict) else None
    return members if isinstance(members, dict) else {}


def _choices(schema: Json) -> Iterator[str]:
    """Yield the texts that arguments are chosen from."""
    for shape in _members(schema).values():
        choices = shape.get("enum") if isinstance(shape, dict) else None
        yield from (choice for choice in choices if isinstance(choice, str)) if isinstance(choices, list) else ()


def read_sayings(tools: Sequence[JsonObject]) -> tuple[Saying, ...]:
    """Return the sayings about each listed tool of a server."""
    hints = [_hints(tool) for tool in tools]
    uniform = frozenset(name for name in _HINTS if _is_uniform(name, hints))
    shared = _find_shared(tools)
    return tuple(_read(tool, said, uniform, shared) for tool, said in zip(tools, hints, strict=True))


def _find_shared(tools: Sequence[JsonObject]) -> frozenset[str]:
    """Return the arguments of nearly all tools that take any."""
    named = [names for tool in tools if (names := argument_names(tool.get("inputSchema")))]
    counts = Counter(name for names in named for name in names)
    return frozenset(name for name, count in counts.items() if len(named) >= _SAME_OF and count >= len(named) * _MOSTLY)


def argument_names(schema: Json) -> tuple[str, ...]:
    """Return the names of the arguments in a schema."""
    return tuple(_members(schema))


def _read(tool: JsonObject, hints: Mapping[str, Json], uniform: Collection[str], shared: frozenset[str]) -> Saying:
    name, description = str(tool.get("name", "")), str(tool.get("description") or "")
    words = words_of(name)
    verbs = tuple(VERBS[word] for word in words if word in VERBS)
    return Saying(name, description, tool.get("inputSchema"), hints, words, verbs, uniform, shared)


def _hints(tool: JsonObject) -> Mapping[str, Json]:
    annotations = tool.get("annotations")
    return annotations if isinstance(annotations, dict) else {}


def _is_uniform(hint: str, tools: Sequence[Mapping[str, Json]]) -> bool:
    """Return whether a hint is true of nearly all tools, and so tells no tool from another.

    Reads are never destructive, so `destructiveHint` is compared among the other tools.
    """
    asked = [hints for hints in tools if hint != "destructiveHint" or hints.get("readOnlyHint") is not True]
    return len(asked) >= _SAME_OF and sum(hints.get(hint) is True for hints in asked) >= len(asked) * _MOSTLY
