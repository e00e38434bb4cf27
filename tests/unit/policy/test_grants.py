from __future__ import annotations

import pytest

from gateway.errors import PolicyBroken
from gateway.policy import grants


def test_each_problem_is_a_sentence_with_its_place():
    found = grants.sentences(
        [
            {"upstream": "files", "index": 6, "problem": "id is missing"},
            {"upstream": "", "index": 0, "problem": "upstreams is missing"},
        ]
    )

    assert found == ["upstream '', grant 1: upstreams is missing", "upstream 'files', grant 7: id is missing"]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        "<undefined>",
        [1],
        [{}],
        [{"upstream": 1, "index": 0, "problem": "x"}],
        [{"upstream": "a", "index": "0", "problem": "x"}],
        [{"upstream": "a", "index": 0}],
    ],
)
def test_what_is_no_list_of_problems_is_not_read_as_none(answer: object):
    with pytest.raises(PolicyBroken, match=r"data\.gateway\.grants\.problems\.found is no list of problems"):
        grants.sentences(answer)


def test_the_first_problem_is_told_with_its_file_and_how_many_there_are():
    grants.require([], "grants.yaml")

    with pytest.raises(PolicyBroken) as one:
        grants.require(["first"], "grants.yaml")
    with pytest.raises(PolicyBroken) as three:
        grants.require(["first", "second", "third"], "grants.yaml")

    assert one.value.message == "grants.yaml: first"
    assert three.value.message == "grants.yaml: first (and 2 more)"
    assert one.value.remedy
