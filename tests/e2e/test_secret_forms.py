"""A credential that a system shows in any of the usual forms goes to no other system, in this task or in a header, and a text
of the same shape does. Generated passwords are known again in a new task and with a new token.

Real gateway, real servers; what arrived is read from their logs.
"""

from __future__ import annotations

import pytest

from tests.e2e.desk import GENERATED
from tests.e2e.systems import Servers, agent
from tests.e2e.wire import Caller, call
from tests.gateway_process import GatewayProcess
from tests.requirements import requirement
from tests.secret_forms import FORMS, SecretForm

THERE = ["credential-chain/presentation"]
ONE_TIME = ["credential-chain/one-time-code"]
CODES = {
    "your PIN is",
    "door PIN",
    "pin in JSON",
    "?t= magic link",
    "magic link in the path",
    "&code= of an invitation",
}
"""Forms of codes that one system delivers for use at another: a person is asked."""


@requirement("history/credentials")
@pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])
def test_a_credential_in_this_form_is_not_shown_to_another_system(
    one: GatewayProcess, systems: Servers, form: SecretForm
):
    ada = agent(one, systems)
    ada.passes("crm", "read", page=f"form {form.name}")
    ada.held(ONE_TIME if form.name in CODES else THERE, "billing", "use", token=form.secret)


@requirement("history/credentials")
@pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])
def test_a_text_of_the_same_shape_passes(one: GatewayProcess, systems: Servers, form: SecretForm):
    agent(one, systems).passes("billing", "read", query=form.benign)


@requirement("history/credentials")
@pytest.mark.parametrize("kind", GENERATED)
def test_a_generated_password_is_known_in_a_new_task_and_in_a_header(one: GatewayProcess, systems: Servers, kind: str):
    password = GENERATED[kind]
    ada = agent(one, systems, f"generated {kind}")
    ada.passes("crm", "read", page=f"generated {kind}")
    ada.declare().held(THERE, "billing", "read", query=f"try {password}")
    agent(one, systems, f"generated {kind}").held(THERE, "billing", "read", query=f"try {password}")
    answer = Caller(one, "billing", {**ada.headers, "x-note": password}).ask(call("read"))
    assert (answer.status, answer.codes) == (400, ["credential-chain/outside-arguments"])
