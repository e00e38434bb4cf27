"""What stands above and in rules.toml: where each rule was read, and that it finds the forms which are named there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest

from benchmarks.credentials.examples import example
from gateway.inspection.credentials.ruleset import OWN
from tests.unit.inspection.credentials.conftest import RULES

PAGE = Path(__file__).resolve().parents[4] / "docs/credentials.md"
BY_ID = {rule.id: rule for rule in RULES.rules}
IDS = list(BY_ID)
SAYS = {"prefix", "name", "length", "alphabet"}
CODE = re.compile(r"\.(?:clj|cs|ex|go|java|js|py|rb|rs|template|toml|ts)$")
"""Sources that are no documentation: code and settings that the provider publishes."""
HEAD = re.compile(
    r"^(?P<sources>(?:# source: https://\S+\n)+)"
    r"# (?:read: \d{4}-\d{2}-\d{2}: (?P<says>[a-z, ]+)|not read: \S.*)\n"
    r"\[\[rules\]\]\nid = \"(?P<id>.+)\"$",
    re.MULTILINE,
)
HEADS = {match["id"]: match.groupdict() for match in HEAD.finditer(OWN.read_text("utf-8"))}

# Forms beside that of a rule's own example, as the page above the rule has them.
FORMS = [
    ("aiven-token", "Authorization: aivenv1 {b:240}"),
    ("asana-token", "Authorization: Bearer 0/{x:28}"),
    ("azure-annotated-key", "{w:52}JQQJ9DwA{w:16}ACOG{w:4}"),
    ("azure-devops-pat", "{w:52}JQQJ99wB{w:16}AZDO{w:4}"),
    ("azure-devops-pat", "{w:52}JQQJ9HwB{w:16}AZDO{w:4}"),
    ("azure-identifiable-key", "{b:76}ACDb{b:5}w=="),
    ("azure-identifiable-key", "{b:33}+ASbA{b:5}="),
    ("azure-identifiable-key", "{b:42}+ACRA{b:5}"),
    ("azure-identifiable-key", "{w:42}AzSeA{w:5}"),
    ("azure-identifiable-key", "{u:44}AzFu{u:5}Q=="),
    ("buildkite-token", "bkua_{x:53}"),
    ("buildkite-token", "bkaa_{w:75}"),
    ("buildkite-token", "bkaj_{w:40}.{u:120}.{u:171}"),
    ("buildkite-token", "bkar_{w:73}"),
    ("buildkite-token", "bkpt_{w:199}"),
    ("buildkite-token", "bkpat_{w:54}"),
    ("buildkite-token", "bkps_{w:64}"),
    ("circleci-token", "ccipat_{w:33}"),
    ("circleci-token", "ccipat_{w:62}"),
    ("cloudflare-token", "cfoat_{u:43}.{u:43}"),
    ("cloudflare-token-named", "CLOUDFLARE_API_KEY={x:45}"),
    ("confluent-secret-named", "cloud_api_secret={b:64}"),
    ("crates-io-token", "cio_tp_{w:32}"),
    ("datadog-key", "DD_API_KEY={X:32}"),
    ("datadog-key", "DD_APPLICATION_KEY={X:40}"),
    ("datadog-pat", "DDRCM_{U:35}"),
    ("dynatrace-token", "dt0e01.{U:24}.{U:64}"),
    ("elastic-api-key", "Authorization: ApiKey {b:58}=="),
    ("elastic-api-key", "Authorization: ApiKey essu_{b:80}=="),
    ("gcp-refresh-token", "1//x{u:42}"),
    ("honeycomb-key", "hcxik_{l:58}"),
    ("honeycomb-key", "hcxic_{l:58}"),
    ("huggingface-token", "hf_jwt_eyJ{u:60}.eyJ{u:80}.{u:43}"),
    ("jfrog-api-key", "AKCp8{w:72}"),
    ("mailgun-key", "key-{l:32}"),
    ("mapbox-secret-token", "tk.eyJ{u:80}.{u:22}"),
    ("newrelic-key", "eu01xx{x:30}NRAL"),
    ("newrelic-key", "{X:36}NRAL"),
    ("ngrok-token", "ngrok config add-authtoken 2{w:26}_{w:21}"),
    ("ngrok-token", "ngrok config add-api-key 2{w:26}_{w:21}"),
    ("ngrok-token", "authtoken: 4{w:18}_{w:19}"),
    ("pagerduty-key", "Authorization: Token token={w:20}"),
    ("polar-token", "polar_at_u_{w:37}{crc62}"),
    ("pypi-token", "pypi-{u:85}"),
    ("shippo-token", "shippo_test_{x:32}"),
    ("snyk-token", "snyk_sat.{l:8}.{u:40}.{u:24}"),
    ("stripe-secret-key", "sk_org_live_{w:40}"),
    ("stripe-secret-key", "rkcs_live_{w:40}"),
    ("trigger-dev-key", "tr_prod_{w:24}"),
    ("twilio-api-key", "SK{X:32}"),
    ("xai-key", "xai-{w:64}"),
    ("vercel-token-named", "VERCEL_API_TOKEN={x:24}"),
]
# What comes near, and is of no form that the page has.
NEAR = [
    ("facebook-token", "data:image/png;base64,{b:40}/EAA{w:90}/{b:20}"),
    ("asana-token", "https://cdn.example.com/0/{x:32}"),
    ("gcp-refresh-token", "ssh-rsa AAAAB3{b:20}+1//{w:60}"),
    ("clojars-token", "CLOJARS_{x:59}z"),
    ("pypi-token", "pypi-{u:84}"),
    ("stripe-secret-key", "pk_live_{w:24}"),
    ("supabase-secret-key", "sb_publishable_{u:31}"),
]


@pytest.mark.parametrize(("rule", "grammar"), FORMS)
def test_a_form_that_the_provider_names_is_found(rule: str, grammar: str):
    value = example(grammar, Random(f"{rule} {grammar}"))
    secret = value.rpartition(" ")[2] if " " in value else value
    secret = secret.rpartition("=")[2] if re.search(r"^\w+=\w", secret) else secret

    assert _found(rule, value) == [secret]
    assert rule in {candidate.id for candidate, _ in RULES.candidates(value.encode())}


@pytest.mark.parametrize(("rule", "grammar"), NEAR)
def test_what_only_comes_near_is_not(rule: str, grammar: str):
    assert _found(rule, example(grammar, Random(f"{rule} {grammar}"))) == []


def test_each_rule_says_where_it_was_read_or_why_it_was_not():
    assert list(HEADS) == IDS


def test_what_a_page_says_is_named_in_the_same_words():
    said = {name: head["says"].split(", ") for name, head in HEADS.items() if head["says"] is not None}

    assert {name: says for name, says in said.items() if not set(says) <= SAYS or len(set(says)) != len(says)} == {}


def test_no_value_of_a_rule_with_a_form_of_its_own_is_also_one_of_another_provider():
    """By name alone many are alike; a prefix is one provider's."""
    taken: Counter[tuple[str, str]] = Counter()
    for rule in RULES.rules:
        value = example(rule.example, Random(rule.id))
        taken.update(
            (_provider(rule.id), _provider(other.id))
            for other in RULES.rules
            if _provider(other.id) != _provider(rule.id) and _found(other.id, value)
        )

    assert taken == {}


def test_the_page_tells_how_many_were_read():
    read = {name: head for name, head in HEADS.items() if head["says"] is not None}
    formed = {name for name, head in read.items() if head["says"] != "name"}
    documented = {
        name
        for name in formed
        if any(not CODE.search(source) for source in re.findall(r"https:\S+", read[name]["sources"]))
    }
    told = re.search(
        r"(\d+) rules of (\d+) providers, of which (\d+) rules of (\d+) providers were read. "
        r"The text has the form itself for (\d+) of them: (\d+) in",
        " ".join(PAGE.read_text("utf-8").split()),
    )

    assert told is not None
    assert [int(figure) for figure in told.groups()] == [
        len(IDS),
        len(_providers(IDS)),
        len(read),
        len(_providers(read)),
        len(_providers(formed)),
        len(_providers(documented)),
    ]
    assert len(_providers(documented)) >= 80


def _found(rule: str, text: str) -> list[str]:
    data = f'It is "{text}" now.'.encode()
    found = BY_ID[rule]
    return [
        data[slice(*span)].decode()
        for match in found.regex.finditer(data)
        if found.accepts(data, match, span := found.secret(match))
    ]


def _provider(name: str) -> str:
    return name.partition("-")[0]


def _providers(names: Iterable[str]) -> set[str]:
    return {_provider(name) for name in names}
