from __future__ import annotations

import pytest

from gateway.model.errors import PolicyBroken
from gateway.policy.folder.data_files import GRANTS, SETTINGS


def test_each_problem_is_a_sentence_with_its_place():
    found = GRANTS.sentences(
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
        GRANTS.sentences(answer)


def test_the_first_problem_is_told_with_its_file_and_how_many_there_are():
    GRANTS.require([], "grants.yaml")

    with pytest.raises(PolicyBroken) as one:
        GRANTS.require(["first"], "grants.yaml")
    with pytest.raises(PolicyBroken) as three:
        GRANTS.require(["first", "second", "third"], "grants.yaml")

    assert one.value.message == "grants.yaml: first"
    assert three.value.message == "grants.yaml: first (and 2 more)"
    assert one.value.remedy


def test_a_problem_of_the_settings_is_a_sentence_as_it_stands():
    assert SETTINGS.sentences(["b is missing", "a is missing"]) == ["a is missing", "b is missing"]
    assert SETTINGS.sentences([]) == []


@pytest.mark.parametrize("answer", [None, {}, "<undefined>", [1], [{"problem": "x"}], ["a is missing", None]])
def test_what_is_no_list_of_sentences_is_not_read_as_none(answer: object):
    with pytest.raises(PolicyBroken, match=r"data\.gateway\.problems\.found is no list of problems") as raised:
        SETTINGS.sentences(answer)
    assert "a set of sentences" in raised.value.remedy
