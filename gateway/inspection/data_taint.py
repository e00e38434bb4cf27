"""Labels of text that an agent got from elsewhere: `dataTaint`, the data-taint extension proposed for A2A. Pure.

Received labels only add. So an agent that lies about them gains nothing, and the search of a result needs no parser.
"""

from __future__ import annotations

import json
import re
from typing import Final, cast

from msgspec import Struct

DATA_TAINT: Final = "dataTaint"
"""The member of `_meta` with the labels of the text behind a message."""
_UNTRUSTED: Final = "untrusted"
_KEY: Final = re.compile(rb'"dataTaint"\s*:')
_LABELS: Final = re.compile(rb'\s*\{(?:[^{}\[\]]*,)?\s*"labels"\s*:\s*(\[[^\[\]]*\])')
_REACH: Final = 2_048
"""Bytes behind the name of the member in which its labels stand."""
_SPLIT: Final = 64
"""Bytes at the end of a part that may be the beginning of the member."""


def is_untrusted(label: str) -> bool:
    """Return whether a label is one of untrusted text, such as `untrusted-external`. Any other is one of confidential text."""
    return label.strip().casefold().startswith(_UNTRUSTED)


class DataTaintSearch(Struct):
    """A search of an agent's answer for labels of confidential text, part by part."""

    _rest: bytes = b""

    def feed(self, chunk: bytes) -> bool:
        """Return whether the answer up to this part has such a label that no earlier part had."""
        return self._look(self._rest + chunk, is_last=False)

    def finish(self, chunk: bytes = b"") -> bool:
        """Return the same for the last part."""
        return self._look(self._rest + chunk, is_last=True)

    def _look(self, data: bytes, *, is_last: bool) -> bool:
        found = False
        end = 0
        for named in _KEY.finditer(data):
            end = named.end()
            if _LABELS.match(data, end) is None and len(data) - end < _REACH and not is_last:
                self._rest = data[named.start() :]
                return found
            found = _is_confidential(data, end) or found
        self._rest = data[max(end, len(data) - _SPLIT) :]
        return found


def _is_confidential(data: bytes, at: int) -> bool:
    """Return whether labels name confidential text. Labels that cannot be read may name any."""
    match = _LABELS.match(data, at, at + _REACH)
    if match is None:
        return True
    try:
        labels = cast("list[object]", json.loads(match[1]))
    except ValueError:
        return True
    return not all(isinstance(label, str) and is_untrusted(label) for label in labels)
