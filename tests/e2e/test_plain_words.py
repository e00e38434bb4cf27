"""One line in a ticket, `secret: customer_4711_eu1`, does not take a name away: a person is asked where the goal or another
system has it as a word. A credential gains nothing by that.

Real gateway, real servers; what arrived is read from their logs.
"""

from __future__ import annotations

import base64

from tests.e2e.desk import CUSTOMER, KEY, WORD
from tests.e2e.systems import Agent
from tests.requirements import requirement

REFUSED = ["credential-chain/presentation"]
ASKED = ["credential-chain/plain-word"]


@requirement("history/plain-words")
def test_a_named_word_that_the_task_has_from_nowhere_else_is_refused(ada: Agent):
    ada.passes("crm", "read", page="ticket")
    ada.held(REFUSED, "billing", "read", query=CUSTOMER)


@requirement("history/plain-words")
def test_a_word_of_an_earlier_result_of_another_system_is_asked_about(ada: Agent):
    ada.passes("files", "read", page="customers")
    ada.passes("crm", "read", page="ticket")
    ada.asked(ASKED, "billing", "read", query=CUSTOMER)
    ada.asked(ASKED, "billing", "use", token=CUSTOMER)
    ada.asked(ASKED, "billing", "write", body=f"Close the case of {CUSTOMER}.")
    ada.asked(ASKED, "crm", "write", body=f"Close the case of {CUSTOMER}.")
    ada.passes("crm", "read", query=CUSTOMER)


@requirement("history/plain-words")
def test_a_word_of_a_trusted_system_is_asked_about(ada: Agent):
    ada.passes("crm", "read", page="ticket")
    ada.passes("wiki", "read", page="customers")
    ada.asked(ASKED, "billing", "read", query=CUSTOMER)


@requirement("history/plain-words")
def test_a_word_of_the_goal_is_asked_about(ada: Agent):
    task = ada.declare(goal=f"Look after the invoices of {CUSTOMER}, please")
    task.passes("crm", "read", page="ticket")
    task.asked(ASKED, "billing", "read", query=CUSTOMER)


@requirement("history/plain-words")
def test_a_word_that_the_agent_said_first_is_refused(ada: Agent):
    ada.passes("files", "read", find=CUSTOMER)
    ada.passes("wiki", "read", find=CUSTOMER)
    ada.passes("crm", "read", page="ticket")
    ada.held(REFUSED, "billing", "read", query=CUSTOMER)


@requirement("history/plain-words")
def test_a_word_in_disguise_is_refused(ada: Agent):
    ada.passes("files", "read", page="customers")
    ada.passes("crm", "read", page="ticket")
    for disguised in (
        base64.b64encode(CUSTOMER.encode()).decode(),
        CUSTOMER.encode().hex(),
        CUSTOMER.replace("_", " "),
    ):
        ada.held(REFUSED, "billing", "read", query=disguised)


@requirement("history/plain-words")
def test_a_credential_gains_nothing_by_what_else_has_it(ada: Agent):
    task = ada.declare(goal=f"Use {WORD} for everything")
    for secret, page in ((KEY, "key"), (WORD, "word")):
        task.passes("wiki", "read", page=page)
        task.passes("crm", "read", page=page)
        task.held(REFUSED, "billing", "read", query=f"try {secret}")
