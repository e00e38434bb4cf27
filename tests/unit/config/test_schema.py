"""The JSON Schemas take the files of this repository, refuse misspelt ones, and know the fields that Rego knows."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest
import yaml
from jsonschema import Draft202012Validator

from gateway.model.errors import PolicyBroken
from gateway.policy.facts import read_facts
from gateway.surfaces.cli import template
from gateway.surfaces.cli.schemas import Document, describe_document
from gateway.surfaces.cli.worked_rules import RULES, WorkedRule
from gateway.surfaces.demo.processes import NAMES, upstreams

ROOT: Final = Path(__file__).resolve().parents[3]
VALIDATORS: Final[dict[str, Any]] = {each: Draft202012Validator(describe_document(each)) for each in Document}


class _Texts(yaml.SafeLoader):
    """A loader that leaves dates as they are written, as an editor does."""


_Texts.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(text: str) -> Any:
    return yaml.load(text, _Texts)


def problems(name: str, document: object) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in VALIDATORS[name].iter_errors(document)]


def configurations() -> Iterator[Any]:
    for path in [*ROOT.glob("deploy/**/gateway.yaml")]:
        yield pytest.param(path.read_text("utf-8"), id=str(path.relative_to(ROOT)))
    yield pytest.param(template.configuration(None), id="opagate init")
    for page in sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md"]):
        for number, text in enumerate(
            re.findall(r"^```yaml\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        ):
            if not any(
                isinstance(item, list | str)
                for item in cast("dict[str, object]", read(text).get("upstreams") or {}).values()
            ):
                yield pytest.param(text, id=f"{page.relative_to(ROOT)}-{number}")


@pytest.mark.parametrize("document", Document)
def test_a_schema_is_one_of_its_dialect(document: Document):
    Draft202012Validator.check_schema(describe_document(document))


@pytest.mark.parametrize("text", [*configurations()])
def test_a_configuration_of_the_repository_follows_the_schema(text: str):
    assert problems("config", read(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "polic: {}",
        "policy: {grant: grants.yaml}",
        "limits: {connect: 5}",
        "limits: {connect: five seconds}",
        "limits: {request_bytes: 4 megabytes}",
        "identity: [{kind: jwt}]",
        "policy: {engine: rego}",
        "upstreams: {mail: {url: 'https://mail.example/mcp', audience: mail, tools: {send: {efect: write}}}}",
        "upstreams: {mail: {url: 'https://mail.example/mcp', audience: mail, credential: {kind: header, name: a, value: hunter2}}}",
    ],
)
def test_a_misspelt_or_wrong_setting_breaks_the_schema(text: str):
    assert problems("config", read(text)) != []


@pytest.mark.parametrize("text", [(ROOT / "rego/gateway/grants/data.yaml").read_text("utf-8"), template.grants(None)])
def test_the_grants_of_the_repository_follow_the_schema(text: str):
    assert problems("grants", read(text)) == []


GRANT: Final[dict[str, Any]] = {"id": "x", "agents": ["*"], "issuers": ["*"], "tools": ["read_*"]}


@pytest.mark.parametrize(
    "change",
    [
        {"scope": ["a"]},
        {"effects": ["writes"]},
        {"tools": "read_*"},
        {"tools": ["a*b*c"]},
        {"agents": []},
        {"sensitivity": "secret"},
        {"when": {"path": {"under": "x"}}},
        {"when": {"/path": {"unter": "x"}}},
        {"when": {"/path": {"optional": True}}},
        {"approval": {"persons": 2}},
    ],
)
def test_a_grant_that_the_policy_cannot_read_breaks_the_schema(change: dict[str, Any]):
    assert problems("grants", {"upstreams": {"mail": [GRANT]}}) == []
    assert problems("grants", {"upstreams": {"mail": [{**copy.deepcopy(GRANT), **change}]}}) != []


def test_the_schema_of_grants_knows_the_fields_of_the_rules():
    rules = (ROOT / "rego/gateway/grants/problems/problems.rego").read_text("utf-8")
    conditions = (ROOT / "rego/gateway/lib/conditions/conditions.rego").read_text("utf-8")
    approvers = (ROOT / "rego/gateway/lib/approvers/approvers.rego").read_text("utf-8")
    found = describe_document(Document.GRANTS)["$defs"]

    assert _names(rules, "_lists_of_text := {") | _names(rules, "_others := {") == set(found["grant"]["properties"])
    assert _names(conditions, "names := {") == set(found["condition"]["properties"])
    assert set(re.findall(r'"(\w+)":', approvers.partition("_forms := {")[2].partition("}")[0])) == set(
        found["approvers"]["properties"]
    )


def test_the_choices_in_a_grant_are_those_of_the_settings():
    settings = read((ROOT / "rego/gateway/settings/data.yaml").read_text("utf-8"))
    grant, approvers = (
        describe_document(Document.GRANTS)["$defs"][name]["properties"] for name in ("grant", "approvers")
    )

    assert grant["effects"]["items"]["enum"] == settings["effects"]
    assert grant["auth_methods"]["items"]["enum"] == settings["auth_methods"]
    assert set(grant["sensitivity"]["enum"]) == set(settings["sensitivities"])
    assert set(approvers["assurance"]["enum"]) == set(settings["assurances"])


def _names(text: str, start: str) -> set[str]:
    return set(re.findall(r'"(\w+)"', text.partition(f"\n{start}")[2].partition("}")[0]))


def labels(**tools: object) -> dict[str, object]:
    return {"format": 1, "upstreams": {"mail": {"tools": tools}}}


def test_a_labels_file_follows_its_schema_and_a_misspelt_one_breaks_it():
    for item in upstreams({name: f"http://{name}/mcp" for name in NAMES}).values():
        written = item.model_dump(mode="json", exclude_unset=True)["tools"]
        assert problems("labels", labels(**written)) == []
    assert problems("labels", labels(send={"egres": True})) != []
    assert problems("labels", labels(send={"effect": "writes"})) != []
    assert problems("labels", {"upstreams": {}}) != []
    assert problems("labels", {"format": 2}) != []


def test_a_default_stands_in_the_schema_as_the_file_has_it():
    limits = describe_document(Document.CONFIG)["$defs"]["Limits"]["properties"]

    assert limits["drain"]["default"] == "30s"
    assert (
        problems("config", {"limits": {name: item["default"] for name, item in limits.items() if "default" in item}})
        == []
    )


@pytest.mark.parametrize(
    "path", ["deploy/gateway.yaml", "rego/gateway/grants/data.yaml"], ids=["configuration", "grants"]
)
def test_a_modeline_leads_to_a_schema_that_the_repository_has(path: str):
    match = re.search(r"^# yaml-language-server: \$schema=(\S+)$", (ROOT / path).read_text("utf-8"), re.MULTILINE)

    assert match
    assert ((ROOT / path).parent / match[1]).is_file()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_facts_of_worked_rules_follow_the_schema(rule: WorkedRule):
    assert problems("facts", {"facts": read(rule.facts)}) == []


@pytest.mark.parametrize(
    "fact",
    [
        "{count: calls}",
        "{by: [task]}",
        "{count: calls, sum: /arguments/amount, by: [task]}",
        "{count: call, by: [task]}",
        "{count: calls, by: [tsak]}",
        "{count: calls, by: [/argument/to]}",
        "{sum: total, by: [task]}",
        "{count: calls, by: [task], within: 24 hours}",
        "{count: calls, by: [task], of: {outcome: over}}",
        "{count: calls, by: [task], of: {arguments: {/arguments/to: {eqals: a}}}}",
        "{last: time, by: [task, {this: /arguments/a}]}",
    ],
)
def test_a_misspelt_or_half_fact_breaks_the_schema_as_it_breaks_the_policy(fact: str):
    assert problems("facts", {"facts": {"named": read(fact)}}) != []
    with pytest.raises(PolicyBroken):
        read_facts({"overlay": {"facts": {"named": read(fact)}}}, lambda _condition, _arguments, _pointer: True)
