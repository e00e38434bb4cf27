"""Limits of tasks in gateway.yaml, in the place of the policy's."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Configuration, PolicySettings, TaskLimit, parse
from gateway.model.errors import ConfigurationError, PolicyBroken
from gateway.policy.folder import bundle, folders
from gateway.policy.folder.folders import LimitChange, PolicyFolders, find_shipped, with_limits

SHIPPED = bundle.read_folder(find_shipped())


def limits(policy: bundle.Bundle) -> dict[str, dict[str, int]]:
    return policy.decoded_data()["gateway"]["settings"]["task_limits"]


def test_a_number_takes_the_place_of_that_of_the_policy():
    changed = with_limits(SHIPPED, [LimitChange("audiences", None, 60), LimitChange("approvals_used", None, 7)])

    assert limits(changed) == limits(SHIPPED) | {"audiences": {"soft": 5, "hard": 60}, "approvals_used": {"hard": 7}}
    assert changed.modules == SHIPPED.modules
    assert with_limits(SHIPPED, []) is SHIPPED


def test_limits_over_tasks_have_their_owner_before_the_name(tmp_path: Path):
    text = "limits: {user: {calls: {soft: 9}}, agent: {calls: {hard: 90000}}, task: {calls: {soft: 7}}}"
    changed = folders.read_policy(PolicyFolders.configured(parse(text, base=tmp_path).policy))

    found, before = (policy.decoded_data()["gateway"]["settings"] for policy in (changed, SHIPPED))
    assert found["user_limits"] == before["user_limits"] | {"calls": before["user_limits"]["calls"] | {"soft": 9}}
    assert found["agent_limits"]["calls"] == before["agent_limits"]["calls"] | {"hard": 90000}
    assert found["task_limits"]["calls"]["soft"] == 7


def test_the_revision_names_the_numbers():
    one = with_limits(SHIPPED, [LimitChange("audiences", None, 60)])
    other = with_limits(SHIPPED, [LimitChange("audiences", None, 61)])

    assert len({SHIPPED.revision, one.revision, other.revision}) == 3
    assert one.revision.startswith(f"{SHIPPED.revision}+")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            LimitChange("audience", None, 9),
            r"limits\.task\.audience: the policy has no such limit; did you mean `audiences`\?",
        ),
        (
            LimitChange("user.call", None, 9),
            r"limits\.user\.call: the policy has no such limit; did you mean `calls`\?",
        ),
        (LimitChange("agent.calls", None, 1), r"limits\.agent\.calls: soft \d+ is not below hard 1"),
        (LimitChange("team.calls", None, 1), r"limits\.team\.calls: the policy has no such limit"),
        (LimitChange("audiences", None, 5), r"limits\.task\.audiences: soft 5 is not below hard 5"),
        (LimitChange("audiences", 50, None), r"limits\.task\.audiences: soft 50 is not below hard 50"),
    ],
)
def test_a_limit_that_could_not_ask_is_refused(change: LimitChange, problem: str):
    with pytest.raises(PolicyBroken, match=problem) as raised:
        with_limits(SHIPPED, [change])

    assert "gateway.yaml" in raised.value.remedy


def test_the_configuration_hands_its_limits_to_the_policy(tmp_path: Path):
    text = "limits: {task: {audiences: {soft: 9, hard: 90}, spread: {hard: 4}}}"
    settings = parse(text, base=tmp_path).policy

    places = PolicyFolders.configured(settings.model_copy(update={"require_tests": False}))
    assert places.limits == (LimitChange("audiences", 9, 90), LimitChange("spread", None, 4))
    assert limits(folders.read_policy(places))["audiences"] == {"soft": 9, "hard": 90}
    assert PolicyFolders.configured(PolicySettings()).limits == ()


def test_an_opa_is_compared_with_the_limits(tmp_path: Path):
    engine = "policy: {engine: {kind: opa, url: 'unix:///run/opa.sock'}}\n"

    assert not parse(engine, base=tmp_path).policy.has_files
    assert parse(f"{engine}limits: {{task: {{audiences: {{hard: 90}}}}}}", base=tmp_path).policy.has_files


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("{soft: 5, hard: 5}", "soft 5 is not below hard 5, so no person could ever be asked"),
        ("{soft: 6, hard: 5}", "soft 6 is not below hard 5"),
        ("{}", "it has no number"),
        ("{soft: -1}", "greater than or equal to 0"),
        ("{hard: 0}", "greater than or equal to 1"),
        ("{hard: '9'}", "whole number|integer"),
        ("{hard: yes}", "whole number|integer"),
        ("{weich: 5}", "there is no setting 'weich'"),
    ],
)
def test_numbers_that_make_no_limit_do_not_load(given: str, problem: str, tmp_path: Path):
    with pytest.raises(ConfigurationError, match=problem):
        parse(f"limits: {{task: {{audiences: {given}}}}}", base=tmp_path)


def test_a_limit_over_tasks_is_named_in_its_own_section_alone(tmp_path: Path):
    for section in ("task", "agent"):
        with pytest.raises(
            ConfigurationError, match=r"there is no limit 'user\.calls'; write 'calls' under limits\.user"
        ):
            parse(f"limits: {{{section}: {{user.calls: {{soft: 5}}}}}}", base=tmp_path)


def test_settings_without_limits_are_left_alone():
    plain = Configuration()

    assert plain.policy.limits == {}
    assert plain.policy.with_limits({"calls": TaskLimit(hard=5)}).limits == {"calls": TaskLimit(hard=5)}
    assert plain.policy.limits == {}
