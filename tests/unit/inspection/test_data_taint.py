"""Labels of confidential text in the answer of an agent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.inspection.credentials import ruleset
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.data_taint import DataTaintSearch
from gateway.inspection.inspector import Inspector


def answer(taint: Any, **more: Any) -> bytes:
    return json.dumps({"result": {"content": [], "_meta": {**more, "dataTaint": taint}}}).encode()


CASES = {
    "untrusted": (answer({"labels": ["untrusted-external"]}), False),
    "untrusted in capitals": (answer({"labels": [" Untrusted:web"]}), False),
    "no label": (answer({"labels": []}), False),
    "without": (b'{"result":{"content":[]}}', False),
    "in a text": (json.dumps({"text": '"dataTaint": {"labels": ["pii"]}'}).encode(), False),
    "confidential": (answer({"labels": ["pii"]}), True),
    "beside untrusted": (answer({"labels": ["untrusted", "pii"]}), True),
    "after another member": (answer({"version": "1", "labels": ["pii"]}), True),
    "before another member": (answer({"labels": ["pii"], "version": "1"}), True),
    "pretty": (json.dumps({"_meta": {"dataTaint": {"labels": ["pii"]}}}, indent=4).encode(), True),
    "twice": (answer({"labels": ["untrusted"]}) + answer({"labels": ["pii"]}), True),
    "unreadable": (answer("pii"), True),
    "unreadable labels": (answer({"labels": "pii"}), True),
    "a label that is no text": (answer({"labels": [1]}), True),
    "far away": (answer({"note": "x" * 4_000, "labels": ["untrusted"]}), True),
    "cut off": (b'{"_meta":{"dataTaint":{"labels":["unt', True),
}


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
@pytest.mark.parametrize(("text", "is_confidential"), CASES.values(), ids=CASES.keys())
def test_labels_are_found_in_whatever_parts_the_answer_comes(text: bytes, *, is_confidential: bool, size: int):
    search = DataTaintSearch()

    found = [search.feed(text[at : at + size]) for at in range(0, len(text), size)]

    assert any([*found, search.finish()]) is is_confidential


@pytest.mark.parametrize(("text", "is_confidential"), CASES.values(), ids=CASES.keys())
def test_labels_of_a_whole_answer_are_found_at_its_end(text: bytes, *, is_confidential: bool):
    assert DataTaintSearch().finish(text) is is_confidential


def test_a_long_answer_holds_little():
    search = DataTaintSearch()

    for _ in range(100):
        search.feed(b'"dataTaint":{' + b"x" * 5_000)

    assert len(search._rest) <= 2_100


@pytest.mark.parametrize("is_agent", [False, True])
def test_a_late_answer_is_searched_where_an_agent_answers(*, is_agent: bool):
    inspector = Inspector(b"k" * 32, Detector(ruleset.load(), Fingerprints(b"k" * 32)))

    found = inspector.passing(trusted=False, words=True, is_agent=is_agent).finish(answer({"labels": ["pii"]}))

    assert (found is not None and found.confidential) is is_agent
