"""Search among the tools that a caller may see, for callers with more tools than a model takes in. Pure.

Ranks by BM25 (Robertson and Zaragoza 2009) over names, descriptions and arguments. The numbers of documents are those of the caller's
own tools: another caller's tools change no rank.
"""

from __future__ import annotations

import math
import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

import msgspec
from msgspec import Struct

from gateway.calls.endpoint.messages import object_of
from gateway.calls.endpoint.names import outer_name
from gateway.model.wire import Json, JsonObject, Message

SEARCH: Final = "search_tools"
CALL: Final = "call_tool"
"""Tools of the endpoint itself. No upstream's tool has such a name, since each has the separator."""
_FOUND: Final = 5
_MOST_FOUND: Final = 20
_MOST_NAMED: Final = 60
"""Upstreams that the description of the search names."""
_MOST_OTHERS: Final = 40
_LONGEST_QUERY: Final = 1_000
_MOST_KEPT: Final = 8_192

_SATURATION: Final = 1.2
_LENGTH: Final = 0.75
"""The parameters k1 and b, as usual."""
_OF_NAME: Final = 3
"""How often a word of a tool's name counts."""


class ListedTool(Struct, frozen=True):
    """A tool that a caller may see. `digest` stands for its definition."""

    upstream: str
    name: str
    digest: str
    document: JsonObject

    @property
    def shown(self) -> dict[str, Json]:
        """The definition with the name for clients."""
        return {**self.document, "name": outer_name(self.upstream, self.name)}


class ToolSearch:
    """The words of tools, remembered by definition."""

    def __init__(self) -> None:
        self._words: OrderedDict[tuple[str, str], Counter[str]] = OrderedDict()

    def find(self, query: str, tools: Sequence[ListedTool], most: int) -> list[ListedTool]:
        """Return the best tools for a query, the best first. A tool without any of its words is none."""
        asked = set(split_words(query[:_LONGEST_QUERY]))
        counted = [(tool, self._words_of(tool)) for tool in tools]
        sizes = [words.total() for _, words in counted]
        mean = sum(sizes) / (len(sizes) or 1) or 1.0
        weights = {word: _weigh(sum(word in words for _, words in counted), len(counted)) for word in asked}
        scores = [
            (_score(words, weights, size / mean), place)
            for place, ((_, words), size) in enumerate(zip(counted, sizes, strict=True))
        ]
        best = sorted((-score, place) for score, place in scores if score > 0)
        return [counted[place][0] for _, place in best[:most]]

    def _words_of(self, tool: ListedTool) -> Counter[str]:
        key = tool.upstream, tool.digest
        words = self._words.get(key)
        if words is None:
            words = self._words[key] = _count_words(tool)
            if len(self._words) > _MOST_KEPT:
                self._words.popitem(last=False)
        return words


def _weigh(holding: int, count: int) -> float:
    return math.log(1 + (count - holding + 0.5) / (holding + 0.5))


def _score(words: Mapping[str, int], weights: Mapping[str, float], length: float) -> float:
    damped = _SATURATION * (1 - _LENGTH + _LENGTH * length)
    return sum(
        weight * count * (_SATURATION + 1) / (count + damped)
        for word, weight in weights.items()
        if (count := words.get(word, 0))
    )


def _count_words(tool: ListedTool) -> Counter[str]:
    arguments = object_of(object_of(tool.document.get("inputSchema")).get("properties"))
    described = [object_of(schema).get("description") for schema in arguments.values()]
    texts = [tool.upstream, tool.document.get("title"), tool.document.get("description"), *arguments, *described]
    words = Counter(word for text in texts if isinstance(text, str) for word in split_words(text))
    for word in split_words(tool.name):
        words[word] += _OF_NAME
    return words


_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_a-zA-Z]+")


def split_words(text: str) -> Iterable[str]:
    """Yield the words of a text, or of a name in any style, without their usual endings."""
    for found in _WORD.findall(text):
        word = found.lower()
        if word not in _EMPTY_WORDS:
            yield _stem(word)


_EMPTY_WORDS: Final = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "by",
        "can",
        "do",
        "for",
        "from",
        "has",
        "have",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "me",
        "my",
        "of",
        "on",
        "or",
        "our",
        "so",
        "that",
        "the",
        "their",
        "them",
        "then",
        "this",
        "to",
        "was",
        "we",
        "which",
        "will",
        "with",
        "you",
        "your",
    ]
)
_ENDINGS: Final = ("ations", "ation", "ings", "ing", "ies", "ied", "ers", "ed", "es", "er", "s", "e", "y")


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


# --- the endpoint's own tools ----------------------------------------------------------------------------


def describe_own_tools(tools: Sequence[ListedTool]) -> list[dict[str, Json]]:
    """Return the definitions of the endpoint's own tools, for a caller with these tools."""
    upstreams = sorted({tool.upstream for tool in tools})
    named = ", ".join(upstreams[:_MOST_NAMED])
    rest = f", and {len(upstreams) - _MOST_NAMED} more" if len(upstreams) > _MOST_NAMED else ""
    return [
        {
            "name": SEARCH,
            "description": f"Finds tools by words. There are {len(tools)} tools of these systems: {named}{rest}."
            f" Search before you say that something cannot be done. A found tool is called through {CALL}, or by its name.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "query": {"type": "string", "description": "What the tool should do, in a few words."},
                    "limit": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": _MOST_FOUND,
                        "description": "How many tools.",
                    },
                },
                "required": ["query"],
            },
            "annotations": {"readOnlyHint": True, "openWorldHint": False},
        },
        {
            "name": CALL,
            "description": f"Calls a tool that {SEARCH} has found.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "The name of the tool, as found."},
                    "arguments": {"type": "object", "description": "The arguments, as its inputSchema says."},
                },
                "required": ["name"],
            },
        },
    ]


def find_pinned(tools: Iterable[ListedTool], patterns: Sequence[str]) -> list[dict[str, Json]]:
    """Return the definitions of the tools that stay in the list, by their `upstream/tool`."""
    return [
        tool.shown
        for tool in tools
        if any(fnmatchcase(f"{tool.upstream}/{tool.name}", pattern) for pattern in patterns)
    ]


class SearchQuestion(Struct, frozen=True):
    """The arguments of a search."""

    query: str
    limit: int


def read_question(message: Message) -> SearchQuestion | None:
    """Return the arguments of a search; `None` for others."""
    arguments = object_of(message.params.get("arguments"))
    query, limit = arguments.get("query"), arguments.get("limit", _FOUND)
    is_number = isinstance(limit, int) and not isinstance(limit, bool)
    if not isinstance(query, str) or not is_number or not isinstance(limit, int):
        return None
    return SearchQuestion(query, min(max(limit, 1), _MOST_FOUND))


def render_found(found: Sequence[ListedTool], tools: Sequence[ListedTool]) -> dict[str, Json]:
    """Return the result of a search: the definitions of the found tools, and the names of others of the same systems.

    A task often needs a tool beside the found one that its words do not name, such as one that looks an account up.
    """
    upstreams = {tool.upstream for tool in found}
    shown = {(tool.upstream, tool.name) for tool in found}
    others = [
        outer_name(tool.upstream, tool.name)
        for tool in tools
        if tool.upstream in upstreams and (tool.upstream, tool.name) not in shown
    ]
    result = {"tools": [tool.shown for tool in found], "others": others[:_MOST_OTHERS]}
    return {"content": [{"type": "text", "text": msgspec.json.encode(result).decode()}], "isError": False}


def unwrap_call(message: Message) -> Message | None:
    """Return the call inside a call of `call_tool`; `None` without a name in it."""
    arguments = object_of(message.params.get("arguments"))
    name, inner = arguments.get("name"), arguments.get("arguments", {})
    if not isinstance(name, str) or not name or not isinstance(inner, dict):
        return None
    members = msgspec.json.decode(message.body, type=dict[str, msgspec.Raw])
    params = msgspec.json.decode(members["params"], type=dict[str, msgspec.Raw])
    given = msgspec.json.decode(params["arguments"], type=dict[str, msgspec.Raw])
    params |= {"name": given["name"], "arguments": given.get("arguments", msgspec.Raw(b"{}"))}
    members["params"] = msgspec.Raw(msgspec.json.encode(params))
    changed = {**message.params, "name": name, "arguments": inner}
    return msgspec.structs.replace(message, body=msgspec.json.encode(members), params=changed, name=name)
