"""The reasons that the gateway itself gives, one entry a text. Pure. Policy's reasons stand in the rules.

An entry has the code, the words, the HTTP status and the JSON-RPC error code. Codes are part of the interface.
docs/reference/reasons.md is generated from this table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from gateway.model.decision import Reason, Refusal
from gateway.protocol.error_codes import INVALID_REQUEST, REFUSED, UNAUTHENTICATED, UNAVAILABLE

if TYPE_CHECKING:
    from gateway.errors import GatewayError


class RefusalText(Struct, frozen=True):
    """An entry of the table. Its texts have slots in braces, filled where the gateway refuses."""

    code: str
    status: int
    message: str
    remedy: str
    rpc_code: int = REFUSED
    controls: tuple[str, ...] = ()

    def reason(self, **values: Any) -> Reason:
        """Return the reason, with its slots filled."""
        return Reason(
            self.code.format_map(values), self.message.format_map(values), self.remedy.format_map(values), self.controls
        )

    def refusal(self, **values: Any) -> Refusal:
        """Return the refusal of a request for this reason."""
        return Refusal(self.status, self.reason(**values), self.rpc_code)


def entries() -> tuple[RefusalText, ...]:
    """Return the table, in its order."""
    return tuple(value for value in globals().values() if isinstance(value, RefusalText))


def reason_of(error: GatewayError) -> Reason:
    """Return the reason for a failure of the gateway."""
    return Reason(error.code, sentence(error.message), sentence(error.remedy))


def sentence(clause: str) -> str:
    """Return a clause as a sentence: with a capital letter and a full stop."""
    return clause and f"{clause[0].upper()}{clause[1:]}."


def status_of(code: str) -> int:
    """Return the HTTP status of a code; 403 for a code of another table."""
    return _STATUSES.get(code, 403)


# --- requests -------------------------------------------------------------------------------------

REQUEST_PATH: Final = RefusalText(
    "request/path", 404, "There is nothing at this path.", "MCP is at /mcp/<upstream>.", INVALID_REQUEST
)
REQUEST_PATH_OF_TOKENS: Final = RefusalText(
    "request/path",
    404,
    "This gateway issues no tokens and registers no clients.",
    "Ask the authorization server that /.well-known/oauth-protected-resource names.",
    INVALID_REQUEST,
)
REQUEST_METHOD_OF_PAGE: Final = RefusalText(
    "request/http-method", 405, "This page is only read.", "Use GET.", INVALID_REQUEST
)
REQUEST_METHOD_OF_FORM: Final = RefusalText(
    "request/http-method", 405, "This page answers a form.", "Use POST.", INVALID_REQUEST
)
REQUEST_INTROSPECTION: Final = RefusalText(
    "request/introspection",
    200,
    "The credentials of a question about a token are those of no upstream.",
    "Compare id and secret with authority.introspection.clients.",
    UNAUTHENTICATED,
)
IDENTITY_PERSON: Final = RefusalText(
    "identity/person",
    403,
    "The token names no person, or an agent that acts for one.",
    "Log in yourself, and use the token of that login.",
    UNAUTHENTICATED,
)
OPERATOR_ACCOUNT: Final = RefusalText(
    "{word}/account", 403, "This account is no operator of the gateway.", "Use the gateway's own account, or root."
)
OPERATOR_INVALID: Final = RefusalText("{word}/invalid", 400, "The request cannot be read: {problem}.", "Correct it.")
JOURNAL_DAMAGED: Final = RefusalText(
    "journal/unavailable", 503, "An entry of the journal cannot be read.", "Run `opagate journal verify`.", UNAVAILABLE
)
SOCKET_BUSY: Final = RefusalText(
    "socket/busy", 503, "Too many programs are connected to this socket.", "Close some, and try again."
)

# --- tasks ----------------------------------------------------------------------------------------

TASK_INVALID: Final = RefusalText(
    "task/invalid", 400, "The task was not opened: {problem}.", "Mend that and send it again."
)
TASK_INVALID_CREDENTIAL: Final = RefusalText(
    "task/invalid",
    400,
    "The task was not opened: its contract, tenant or environment holds a credential.",
    "Name systems, tools and destinations without it.",
)
TASK_UNKNOWN: Final = RefusalText("task/unknown", 404, "There is no such task of yours.", "Open one with POST /tasks.")
TASK_AMBIGUOUS: Final = RefusalText(
    "task/ambiguous",
    403,
    "The request names more than one task.",
    "Name it once: in Opagate-Task or in _meta[{member!r}].",
)
TASK_ENDED: Final = RefusalText("task/ended", 409, "This task is over.", "Open a new one with POST /tasks.")
TASK_ENDED_BEFORE: Final = RefusalText("task/ended", 409, "This task is {state} already.", "Leave it at that.")
TASK_EXPIRED: Final = RefusalText("task/expired", 410, "This task's time is over.", "Open a new one with POST /tasks.")
TASK_NOT_FOUND: Final = RefusalText("task/not-found", 404, "There is no such page.", "See /tasks in the documentation.")
TASK_METHOD: Final = RefusalText(
    "task/method", 405, "This page is not asked in this way.", "Use the method that Allow names."
)

# --- approvals ------------------------------------------------------------------------------------

APPROVAL_BUDGET: Final = RefusalText(
    "approval/budget",
    200,
    "Too many questions of this task or caller wait for people already.",
    "Wait until they are answered, then repeat the call.",
)
APPROVAL_PENDING: Final = RefusalText(
    "approval/pending",
    200,
    "A person was asked to approve this call and has not answered yet.",
    "Repeat the same call with the same arguments later: it passes once after the approval.",
)
APPROVAL_DENIED: Final = RefusalText(
    "approval/denied", 200, "A person refused this call.", "Do not repeat it. Ask your user how to go on."
)
APPROVAL_EXPIRED: Final = RefusalText(
    "approval/expired",
    200,
    "The time for people to answer is over. No person refused this call.",
    "Repeat the call to ask again.",
)
APPROVAL_WITHDRAWN: Final = RefusalText(
    "approval/withdrawn",
    200,
    "The question about this call was withdrawn: its task ended, its tool changed, or your user declined it.",
    "Ask your user how to go on, or start over in a new task.",
)
APPROVAL_UNREACHABLE: Final = RefusalText(
    "approval/unreachable",
    200,
    "The gateway could not tell any approver about this call. No person refused it.",
    "Repeat the same call later. If that does not help, ask the operator to run `opagate approvals test`.",
)
VOTE_UNKNOWN: Final = RefusalText("vote/unknown", 404, "There is no such question.", "List the open ones.")
VOTE_CLOSED: Final = RefusalText("vote/closed", 409, "This question is {state} already.", "Nothing is left to do.")
VOTE_CLOSED_TASK: Final = RefusalText("vote/closed", 409, "The task of this call is over.", "Nothing is left to do.")
VOTE_CHANGED: Final = RefusalText(
    "vote/changed", 409, "The question is not the one that you were shown.", "Look at it again."
)
VOTE_INVALID: Final = RefusalText("vote/invalid", 400, "The vote cannot be read: {problem}.", "Correct it.")
VOTE_INVALID_REQUEST: Final = RefusalText("vote/invalid", 400, "The request cannot be read: {problem}.", "Correct it.")
VOTE_INVALID_ABSENT: Final = RefusalText("vote/invalid", 400, "The request has no vote.", "Add it.")
VOTE_INVALID_ANSWER: Final = RefusalText("vote/invalid", 400, "An answer is approve or deny.", "Write one of the two.")
VOTE_INVALID_SCOPES: Final = RefusalText("vote/invalid", 400, "The scopes are {scopes}.", "Write some of them.")
VOTE_ACCOUNT: Final = RefusalText(
    "vote/account", 403, "The account {account} is no approver here.", "Have it listed in approvals.peers."
)
VOTE_ACCOUNT_OF_GATEWAY: Final = RefusalText(
    "vote/account",
    403,
    "The gateway's own account cannot approve: servers that it starts for agents run under it.",
    "Use another account of approvals.peers.",
)
VOTE_ACCOUNT_OF_ANOTHER: Final = RefusalText(
    "vote/account", 403, "An account speaks for its own person only.", "Leave out --as."
)
VOTE_EXCLUDED: Final = RefusalText(
    "vote/excluded", 403, "The caller, its user and its delegates cannot approve this call.", "Ask another approver."
)
VOTE_TWICE: Final = RefusalText("vote/twice", 403, "You have answered this question already.", "Ask another approver.")
VOTE_GROUP: Final = RefusalText(
    "vote/group", 403, "Approvers of this call are in the group {group!r}.", "Ask one of them."
)
VOTE_ASSURANCE: Final = RefusalText(
    "vote/assurance",
    403,
    "This call needs the assurance {needed!r}, and you have {found!r}.",
    "Answer over a stronger channel.",
)
VOTE_LOGIN: Final = RefusalText(
    "vote/login",
    403,
    "This call needs a login of the last {max_age} s, and {found}.",
    "Log in again, and answer over /api/approvals with the new token.",
)
VOTE_SCOPE: Final = RefusalText("vote/scope", 403, "The policy allows these scopes: {scopes}.", "Choose one of them.")
ENDORSEMENT_UNKNOWN: Final = RefusalText(
    "endorsement/unknown", 404, "There is no such endorsement.", "List those in force."
)
ENDORSEMENT_INVALID: Final = RefusalText(
    "endorsement/invalid", 400, "The selection cannot be read: {problem}.", "Correct it."
)
ENDORSEMENT_INVALID_EMPTY: Final = RefusalText(
    "endorsement/invalid",
    400,
    "The request selects no endorsements.",
    "Name an id, principal, tool or kind, or all of them.",
)

# --- lent credentials -----------------------------------------------------------------------------

CREDENTIAL_AUDIENCE: Final = RefusalText(
    "credential/audience",
    200,
    "The policy asks for a credential of another system than the call goes to.",
    "Have the policy's author correct `audience` in `issue_credential`.",
)
CREDENTIAL_SCOPE_OF_EFFECT: Final = RefusalText(
    "credential/scope",
    200,
    "The configuration gives no scopes for tools with this effect.",
    "Have the operator compare `credential.scopes` of the upstream with `issue_credential` in the policy.",
)
CREDENTIAL_SCOPE_FOREIGN: Final = RefusalText(
    "credential/scope",
    200,
    "The policy asks for the scope {scope!r}, which tools with this effect do not get.",
    "Have the operator compare `credential.scopes` of the upstream with `issue_credential` in the policy.",
)
CREDENTIAL_SCOPE_EMPTY: Final = RefusalText(
    "credential/scope",
    200,
    "No scope is left that all rules of the policy permit.",
    "Have the operator compare `credential.scopes` of the upstream with `issue_credential` in the policy.",
)
CREDENTIAL_SCOPE_DETAILS: Final = RefusalText(
    "credential/scope",
    200,
    "Two rules of the policy ask for different authorization details.",
    "Have the operator compare `credential.scopes` of the upstream with `issue_credential` in the policy.",
)
LEASE_UNKNOWN: Final = RefusalText(
    "lease/unknown", 404, "There is no open lease with this id.", "Look at `opagate leases list`."
)
LEASE_UNKNOWN_ENDING: Final = RefusalText(
    "lease/unknown",
    404,
    "No lease with this id waits for its end.",
    "Revoke it first, or look at `opagate leases list --stuck`.",
)
LEASE_UNKNOWN_ON_PAGE: Final = RefusalText(
    "lease/unknown", 404, "No lease with this id waits for its end.", "Load the page again; end the lease first."
)
LEASE_INVALID: Final = RefusalText(
    "lease/invalid",
    400,
    "The request chooses no lease.",
    "Give an id, --task, --user, --agent, --upstream, --broker or --all.",
)
LEASE_INVALID_FORM: Final = RefusalText(
    "lease/invalid", 400, "The form chooses no lease.", "Choose a field, and write its value."
)
LEASE_INVALID_REASON: Final = RefusalText(
    "lease/invalid",
    400,
    "An end without proof is given up only with a reason.",
    "Give --reason, of at most 500 characters.",
)

# --- connections of users -------------------------------------------------------------------------

CONNECTION_LINK: Final = RefusalText(
    "connection/link",
    404,
    "There is no such link, or its time is over.",
    "Have the agent call again: it gets a new link.",
)
CONNECTION_BROWSER: Final = RefusalText(
    "connection/browser",
    403,
    "This page belongs to another browser, or was used already.",
    "Open the link of the agent again, in this browser, with cookies on.",
)
CONNECTION_PERSON: Final = RefusalText(
    "connection/person",
    403,
    "This link is for another person than you are logged in as. Nothing was connected.",
    "Do not open links that somebody else sent you. If you are that person, log out at the identity provider first.",
)
CONNECTION_LOGIN: Final = RefusalText(
    "connection/login", 400, "The login failed: {problem}.", "Open the link again. If it goes on, tell the operator."
)
CONNECTION_FORM: Final = RefusalText(
    "connection/form", 400, "The page has no answer.", "Open the link again, and choose one."
)
CONNECTION_ANSWER: Final = RefusalText(
    "connection/answer",
    400,
    "The answer of the authorization server is malformed. {problem}",
    "Open the link again. If it goes on, tell the operator.",
)
CONNECTION_ISSUER: Final = RefusalText(
    "connection/issuer",
    400,
    "The answer is of another authorization server than you were sent to.",
    "Open the link again. Do not use a page that sent you here by itself.",
)
CONNECTION_ISSUER_ABSENT: Final = RefusalText(
    "connection/issuer",
    400,
    "The authorization server says that it names itself in its answers, and this answer has no name.",
    "Open the link again. Do not use a page that sent you here by itself.",
)
CONNECTION_REFUSED: Final = RefusalText(
    "connection/refused",
    400,
    "The authorization server did not connect you: it, or you, said no.",
    "Open the link again if you want to connect.",
)
CONNECTION_REFUSED_TOKENS: Final = RefusalText(
    "connection/refused",
    400,
    "The authorization server gave no tokens: {problem}.",
    "Open the link again. If it goes on, tell the operator.",
)
CONNECTION_REFRESH: Final = RefusalText(
    "connection/refresh",
    400,
    "The authorization server gave no refresh token, so no credential of it could end with a task.",
    "Tell the operator: the broker may need the scope `offline_access`, or the server another setting.",
)
CONNECTION_WIDER: Final = RefusalText(
    "connection/wider",
    400,
    "The authorization server granted scopes that nobody asked for, so the tokens were revoked.",
    "Tell the operator: these scopes have to stand in the broker's settings, or leave the client's.",
)
CONNECTION_SERVER: Final = RefusalText(
    "connection/server", 400, "{problem}", "Tell the operator: the broker's settings do not fit the server."
)
CONNECTION_UNAVAILABLE: Final = RefusalText(
    "connection/unavailable",
    503,
    "The authorization server cannot be used now: {problem}.",
    "Open the link again later. If it goes on, tell the operator.",
)
CONNECTION_ROOM: Final = RefusalText(
    "connection/room", 503, "The gateway has no room for another connection.", "Tell the operator."
)
CONNECTION_INVALID: Final = RefusalText(
    "connection/invalid", 400, "The request chooses no connection.", "Give an id, --user, --agent, --broker or --all."
)

# --- signals --------------------------------------------------------------------------------------

SIGNAL_UNKNOWN: Final = RefusalText(
    "signal/unknown", 404, "No signal with this id is in force.", "Look at `opagate signals status`."
)
SIGNAL_STREAM: Final = RefusalText(
    "signal/stream", 404, "There is no stream {name!r}.", "Look at `opagate signals status`."
)
SIGNAL_ACCESS: Final = RefusalText(
    "signal/access",
    409,
    "The gateway has no access to this stream, so it cannot ask.",
    "Configure `stream` of these signals.",
)
SIGNAL_TRANSMITTER: Final = RefusalText(
    "signal/transmitter", 502, "The transmitter could not be asked: {problem}.", "Correct `stream`."
)
SIGNAL_SILENT: Final = RefusalText(
    "signal/silent",
    504,
    "The transmitter took the question, and no verification event came within {seconds:g} s.",
    "Compare its endpoint_url and audience with the configuration, and look at the gateway's log for refused events.",
)
SIGNAL_REFUSED: Final = RefusalText(
    "signal/{fault}", 400, "An event of {stream} is refused: {problem}.", "", INVALID_REQUEST
)

# --- the console ----------------------------------------------------------------------------------

CONSOLE_LINK: Final = RefusalText(
    "console/link",
    403,
    "This link was used, or its time is over.",
    "Make another with `opagate console link`.",
    UNAUTHENTICATED,
)
CONSOLE_LOGIN: Final = RefusalText("console/login", 403, "{problem}", "Log in again.", UNAUTHENTICATED)
CONSOLE_LOGIN_FOREIGN: Final = RefusalText(
    "console/login", 403, "This browser did not begin this login.", "Log in again.", UNAUTHENTICATED
)
CONSOLE_ROLE: Final = RefusalText(
    "console/role", 403, "You lack the role {role!r}.", "Ask an operator which groups have it.", UNAUTHENTICATED
)
CONSOLE_ROLE_OF_GROUPS: Final = RefusalText(
    "console/role",
    403,
    "No role of the console is for your groups.",
    "Ask an operator to add a group under console.login.roles.",
    UNAUTHENTICATED,
)
CONSOLE_FRESH: Final = RefusalText(
    "console/fresh",
    403,
    "This action needs a fresh login.",
    "Log in again: with a new link, or at your identity provider.",
    UNAUTHENTICATED,
)
CONSOLE_CSRF: Final = RefusalText(
    "console/csrf", 403, "The form does not belong to your login.", "Load the page again, and send its form."
)
CONSOLE_FORM: Final = RefusalText(
    "console/form", 400, "The form cannot be read.", "Load the page again, and send its form.", INVALID_REQUEST
)
CONSOLE_REASON: Final = RefusalText(
    "console/reason", 403, "The form has no reason.", "Write one, of at most 500 characters."
)
CONSOLE_INVALID: Final = RefusalText("console/invalid", 400, "The request cannot be read: {problem}.", "")
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


_STATUSES: Final = {entry.code: entry.status for entry in entries()}
