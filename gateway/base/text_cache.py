"""A cache for functions of texts from callers and systems. `functools` bounds the number of cached texts, but not their
length: a caller could fill the memory with names of some megabytes. So this cache keeps only short texts. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Concatenate, Final, ParamSpec, TypeVar

Text = TypeVar("Text", str, bytes)
More = ParamSpec("More")
Answer = TypeVar("Answer")

SHORT: Final = 128
"""Characters, or bytes. Of what is longer the answer is worked out each time."""


def short_text_cache(
    size: int,
) -> Callable[[Callable[Concatenate[Text, More], Answer]], Callable[Concatenate[Text, More], Answer]]:
    """Keep the answers for the latest `size` texts. The text is the first argument; the others are short."""

    def cached(function: Callable[Concatenate[Text, More], Answer]) -> Callable[Concatenate[Text, More], Answer]:
        kept = lru_cache(size)(function)

        @wraps(function)
        def answer(text: Text, /, *args: More.args, **kwargs: More.kwargs) -> Answer:
            return (kept if len(text) <= SHORT else function)(text, *args, **kwargs)

        return answer

    return cached
