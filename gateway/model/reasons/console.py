"""Reasons of the console. Pure data."""

from __future__ import annotations

from typing import Final

from gateway.model import error_codes as _rpc
from gateway.model.reasons.text import RefusalText

CONSOLE_LINK: Final = RefusalText(
    "console/link",
    403,
    "This link was used, or its time is over.",
    "Make another with `opagate console link`.",
    _rpc.UNAUTHENTICATED,
)
CONSOLE_LOGIN: Final = RefusalText("console/login", 403, "{problem}", "Log in again.", _rpc.UNAUTHENTICATED)
CONSOLE_LOGIN_FOREIGN: Final = RefusalText(
    "console/login", 403, "This browser did not begin this login.", "Log in again.", _rpc.UNAUTHENTICATED
)
CONSOLE_ROLE: Final = RefusalText(
    "console/role", 403, "You lack the role {role!r}.", "Ask an operator which groups have it.", _rpc.UNAUTHENTICATED
)
CONSOLE_ROLE_OF_GROUPS: Final = RefusalText(
    "console/role",
    403,
    "No role of the console is for your groups.",
    "Ask an operator to add a group under console.login.roles.",
    _rpc.UNAUTHENTICATED,
)
CONSOLE_FRESH: Final = RefusalText(
    "console/fresh",
    403,
    "This action needs a fresh login.",
    "Log in again: with a new link, or at your identity provider.",
    _rpc.UNAUTHENTICATED,
)
CONSOLE_CSRF: Final = RefusalText(
    "console/csrf", 403, "The form does not belong to your login.", "Load the page again, and send its form."
)
CONSOLE_FORM: Final = RefusalText(
    "console/form", 400, "The form cannot be read.", "Load the page again, and send its form.", _rpc.INVALID_REQUEST
)
CONSOLE_REASON: Final = RefusalText(
    "console/reason", 403, "The form has no reason.", "Write one, of at most 500 characters."
)
CONSOLE_BUSY: Final = RefusalText(
    "console/busy", 409, "A comparison is running already.", "Load the page of the policy again."
)
CONSOLE_CANDIDATE: Final = RefusalText(
    "console/candidate", 409, "No candidate is configured.", "Name its files under `console.candidate`."
)
CONSOLE_CANDIDATE_REMOTE: Final = RefusalText(
    "console/candidate",
    409,
    "The policy in force is in an OPA, and its files are not here.",
    "Name the same files under `policy`, or compare with `opagate replay --against`.",
)
CONSOLE_CHANGED: Final = RefusalText(
    "console/changed",
    409,
    "The upstream serves another definition than the page showed.",
    "Load the page, and look again.",
)
CONSOLE_DECISION: Final = RefusalText(
    "console/decision",
    404,
    "There is no such decision in the part of the journal that a page searches.",
    "Use `opagate explain` on the machine of the gateway.",
)
CONSOLE_TASK: Final = RefusalText(
    "console/task",
    404,
    "No call of such a task is in the part of the journal that a page searches.",
    "Open the task from one of its decisions.",
)
