"""Worked rules over earlier calls, for `opagate policy init --rule NAME`: each with its facts, its rule and its tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from gateway.model.errors import ConfigurationError
from gateway.model.wire import JsonObject
from gateway.policy.folder.data_files import nearest

Values = dict[str, int | str]
"""Facts of a call in a test, by name."""


@dataclass(frozen=True, slots=True)
class WorkedRule:
    """A rule for one tool. `passes` and `fails` are the facts of calls in its tests, for passing and for refused calls.

    `reads` is the part of the input with the facts. `names` are pointers to the facts in the rule.
    """

    name: str
    title: str
    message: str
    remedy: str
    tool: str
    arguments: JsonObject
    facts: str
    body: str
    names: tuple[str, ...]
    passes: tuple[Values, ...]
    fails: tuple[Values, ...]
    reads: Literal["facts", "facts_before"] = "facts"
    kind: Literal["denials", "asks"] = "denials"
    beside: str = ""
    """Functions and further rules after the rule."""
    at: str = "2026-11-24T10:00:00Z"
    """The time of the calls in the tests."""

    @property
    def code(self) -> str:
        return f"acme-{self.name.replace('_', '-')}/refused"

    def write_rule(self) -> str:
        """Return the Rego file of the rule."""
        looked = ", ".join(json.dumps(name) for name in ("/resource/id", *self.names))
        head = f"# METADATA\n# scope: package\n# title: {self.title}\n# schemas:\n#   - input: schema.input"
        texts = f"#   code: {self.code}\n#   message: {self.message}\n#   remedy: {self.remedy}\n#   controls: [ASI02]"
        found = f'{self.kind} contains {{"code": "{self.code}", "facts": [{looked}]}} if {{'
        body = "\n".join(f"\t{line}" for line in (f'input.resource.id == "{self.tool}"', *self.body.splitlines()))
        rule = f"# METADATA\n# title: {self.title}\n# custom:\n{texts}\n{found}\n{body}\n}}\n"
        return f"{head}\npackage overlay.{self.name}\n\n{rule}{self.beside and chr(10) + self.beside}"

    def write_tests(self) -> str:
        """Return the Rego file of the tests."""
        places = {"/resource/id": self.tool, "/context/time": self.at}
        places |= {f"/arguments/{name}": value for name, value in self.arguments.items()}
        cases = (
            ("passes", self.passes, "set()"),
            ("does_not_pass", self.fails, f'{{"{self.code}"}}'),
        )
        tests = [
            f"test_a_call_{said}_{number} if {{\n\tcall := _calling({json.dumps(facts)})\n\t_codes(call) == {codes}\n}}\n"
            for said, each, codes in cases
            for number, facts in enumerate(each, 1)
        ]
        other = 'call := object.union(_calling({}), {"resource": example.tool})'
        return "\n".join(
            (
                f"package overlay.{self.name}_test\n",
                f"import data.gateway.testing.example_test as example\nimport data.overlay.{self.name}\n",
                f"_codes(call) := example.codes(found) if found := {self.name}.{self.kind} with input as call\n",
                f'_calling(facts) := object.union(example.changed({json.dumps(places)}), {{"{self.reads}": facts}})\n',
                *tests,
                f"test_another_tool_passes if {{\n\t{other}\n\t_codes(call) == set()\n}}\n",
            )
        )


RULES: Final = (
    WorkedRule(
        "prerequisite",
        "A refund follows the verification of its customer",
        "The customer of this refund was not verified in this task.",
        "Call identity/verify_customer for the same customer first.",
        "payments/refund",
        {"customer": "c-1", "amount": 20},
        """\
  verified_at:                   # prerequisite
    last: time
    of: {tool: identity/verify_customer, outcome: done}
    by: [task, {this: /arguments/customer, that: /arguments/customer}]
""",
        "not input.facts_before.verified_at",
        ("/facts_before/verified_at",),
        ({"verified_at": "2026-11-24T09:50:00Z"},),
        ({},),
        "facts_before",
    ),
    WorkedRule(
        "expiry",
        "A quote holds for ten minutes",
        "The quote of this order is older than ten minutes, or was never asked for.",
        "Ask shop/get_quote for the same quote again.",
        "shop/order",
        {"quote": "q-1"},
        """\
  quoted_at:                     # expiry
    last: time
    of: {tool: shop/get_quote, outcome: done}
    by: [task, {this: /arguments/quote, that: /arguments/quote}]
    within: 10m
""",
        "not input.facts_before.quoted_at",
        ("/facts_before/quoted_at",),
        ({"quoted_at": "2026-11-24T09:55:00Z"},),
        ({},),
        "facts_before",
    ),
    WorkedRule(
        "running_total",
        "Refunds of a customer stay below 500 a day",
        "The refunds of this customer would pass 500 within a day.",
        "Refund less, or tomorrow.",
        "payments/refund",
        {"customer": "c-1", "amount": 20},
        """\
  refunded_today:                # running total, over all tasks of all agents
    sum: /arguments/amount
    of: {tool: payments/refund, outcome: [open, done, unknown]}
    by: [/arguments/customer]
    within: 24h
""",
        "not _is_within",
        ("/facts/refunded_today",),
        ({"refunded_today": 500},),
        ({"refunded_today": 501}, {}),
        beside="_is_within if input.facts.refunded_today <= 500\n",
    ),
    WorkedRule(
        "cool_down",
        "After three failures of a tool a person looks",
        "Three calls of this tool have failed, and none has worked since.",
        "Find out why the calls failed, and tell the person who is asked.",
        "deploy/release",
        {"version": "1.2"},
        """\
  failures:                      # cool-down
    count: calls
    of: {tool: deploy/release, outcome: [failed, unknown]}
    by: [agent, tool]
    within: 24h
    since: {outcome: done}
""",
        "input.facts_before.failures >= 3",
        ("/facts_before/failures",),
        ({}, {"failures": 2}),
        ({"failures": 3},),
        "facts_before",
        "asks",
    ),
    WorkedRule(
        "once_per_customer",
        "A customer gets one welcome credit a year",
        "This customer has had a welcome credit.",
        "Offer the customer something else.",
        "payments/welcome_credit",
        {"customer": "c-1"},
        """\
  credits:                       # once per customer
    count: calls
    of: {tool: payments/welcome_credit, outcome: [open, done, unknown]}
    by: [/arguments/customer]
    within: 8760h
""",
        "not input.facts.credits == 1",
        ("/facts/credits",),
        ({"credits": 1},),
        ({"credits": 2}, {}),
    ),
    WorkedRule(
        "four_eyes",
        "Above 200 a day, two persons approve refunds",
        "The refunds of this customer pass 200 today, so two persons approve them.",
        "Wait for the approvals.",
        "payments/refund",
        {"customer": "c-1", "amount": 20},
        """\
  refunded_to_customer:          # four eyes above an amount
    sum: /arguments/amount
    of: {tool: payments/refund, outcome: [open, done, unknown]}
    by: [/arguments/customer]
    within: 24h
""",
        "not _is_small",
        ("/facts/refunded_to_customer",),
        ({"refunded_to_customer": 200},),
        ({"refunded_to_customer": 201}, {}),
        kind="asks",
        beside="""\
# METADATA
# title: Two persons of finance approve
obligations contains {"id": "require_approvers", "properties": {"count": 2, "group": "finance"}} if {
	input.resource.id == "payments/refund"
	not _is_small
}

_is_small if input.facts.refunded_to_customer <= 200
""",
    ),
    WorkedRule(
        "tenant_quota",
        "A tenant has 1,000 calls of the CRM an hour",
        "The tenant has used its calls of the CRM for this hour.",
        "Call again later.",
        "crm/find_contact",
        {"name": "Ada"},
        """\
  crm_calls_of_tenant:           # quota by tenant
    count: calls
    of: {tool: crm/*}
    by: [tenant]
    within: 1h
""",
        "not _is_within",
        ("/facts/crm_calls_of_tenant",),
        ({"crm_calls_of_tenant": 1000},),
        ({"crm_calls_of_tenant": 1001}, {}),
        beside="_is_within if input.facts.crm_calls_of_tenant <= 1000\n",
    ),
    WorkedRule(
        "quiet_hours",
        "At night an agent pages nobody more than three times",
        "The agent has paged three times within the quiet hours from 22:00 to 06:00 UTC.",
        "Page in the morning.",
        "pager/page",
        {"text": "disk full"},
        """\
  pages_of_agent:                # quiet hours
    count: calls
    of: {tool: pager/page}
    by: [agent]
    within: 8h
""",
        "not _is_day\nnot _is_within",
        ("/context/time", "/facts/pages_of_agent"),
        ({"pages_of_agent": 3},),
        ({"pages_of_agent": 4}, {}),
        at="2026-11-24T23:00:00Z",
        beside="""\
_is_within if input.facts.pages_of_agent <= 3

_is_day if {
	hour := substring(input.context.time, 11, 2)
	hour >= "06"
	hour < "22"
}
""",
    ),
    WorkedRule(
        "separation_of_duties",
        "Who created a payment does not approve it",
        "The user of this call created the payment, or nobody knows who asks.",
        "Have another person approve it.",
        "payments/approve",
        {"payment": "p-1"},
        """\
  created_by_user:               # separation of duties
    count: calls
    of: {tool: payments/create, outcome: [open, done, unknown]}
    by: [user, {this: /arguments/payment, that: /arguments/payment}]
    within: 2160h
""",
        "_is_own",
        ("/subject/properties/user", "/facts_before/created_by_user"),
        ({},),
        ({"created_by_user": 1},),
        "facts_before",
        beside="""\
_is_own if input.facts_before.created_by_user > 0

_is_own if not input.subject.properties.user.id
""",
    ),
    WorkedRule(
        "read_before_delete",
        "A file is deleted after it was read in this task",
        "This file was not read in this task within the last hour.",
        "Read the file first.",
        "files/delete_file",
        {"path": "notes/today.txt"},
        """\
  read_at:                       # read before delete
    last: time
    of: {tool: files/read_file, outcome: done}
    by: [task, {this: /arguments/path, that: /arguments/path}]
    within: 1h
""",
        "not input.facts_before.read_at",
        ("/facts_before/read_at",),
        ({"read_at": "2026-11-24T09:50:00Z"},),
        ({},),
        "facts_before",
    ),
)


def choose(names: Sequence[str]) -> list[WorkedRule]:
    """Return the rules with these names, each once; every rule for `all`. Raise `ConfigurationError` for another name."""
    by_name = {rule.name: rule for rule in RULES}
    for name in names:
        if name != "all" and name not in by_name:
            raise ConfigurationError(
                f"there is no worked rule {name!r}{nearest(name, by_name)}", "`--rule list` names all of them"
            )
    return [rule for rule in RULES if rule.name in names or "all" in names]
