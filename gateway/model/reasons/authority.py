"""Reasons of approvals, lent credentials, connections and signals. Pure data."""

from __future__ import annotations

from typing import Final

from gateway.model import error_codes as _rpc
from gateway.model.reasons.text import RefusalText

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
APPROVAL_CHANGED: Final = RefusalText(
    "approval/changed",
    200,
    "A person approved this call, with other headers or other members beside its arguments.",
    "Repeat the call exactly as it was approved.",
)
APPROVAL_UNREACHABLE: Final = RefusalText(
    "approval/unreachable",
    200,
    "The gateway could not tell any approver about this call. No person refused it.",
    "Repeat the same call later. If that does not help, ask the operator to run `opagate approvals test`.",
)
APPROVAL_UNAVAILABLE: Final = RefusalText(
    "approval/unavailable",
    200,
    "This call needs a person's approval, and this gateway has nobody to ask.",
    "Have the operator configure `approvals`, or grant the call without approval.",
)
APPROVAL_UNAVAILABLE_TASK: Final = RefusalText(
    "approval/unavailable",
    200,
    "This task asks for a person's approval, and this gateway has nobody to ask.",
    "Have the operator configure `approvals`, or leave out `approval`.",
)
APPROVAL_TASK: Final = RefusalText(
    "approval/task",
    200,
    "The caller asks a person to approve this task as a whole.",
    "Nothing is refused: the task begins when a person has approved it.",
)
VOTE_UNKNOWN: Final = RefusalText(
    "vote/unknown", 404, "There is no such question.", "List the open ones: `opagate approvals list`."
)
VOTE_CLOSED: Final = RefusalText("vote/closed", 409, "This question is {state} already.", "Nothing is left to do.")
VOTE_CLOSED_TASK: Final = RefusalText("vote/closed", 409, "The task of this call is over.", "Nothing is left to do.")
VOTE_CHANGED: Final = RefusalText(
    "vote/changed", 409, "The question is not the one that you were shown.", "Look at it again."
)
VOTE_INVALID_ANSWER: Final = RefusalText("vote/invalid", 400, "An answer is approve or deny.", "Write one of the two.")
VOTE_INVALID_SCOPES: Final = RefusalText("vote/invalid", 400, "The scopes are {scopes}.", "Write some of them.")
VOTE_ACCOUNT: Final = RefusalText(
    "vote/account", 403, "The account {account} is no approver here.", "Have it listed in approvals.peers."
)
VOTE_MEMBER: Final = RefusalText(
    "vote/member",
    403,
    "You are in no group that sees and answers questions.",
    "Ask an operator which groups approvals.people.groups names.",
    _rpc.UNAUTHENTICATED,
)
VOTE_ACCOUNT_OF_GATEWAY: Final = RefusalText(
    "vote/account",
    403,
    "The gateway's own account cannot approve: servers that it starts for agents run under it.",
    "Use another account of approvals.peers.",
)
VOTE_TERMINAL: Final = RefusalText(
    "vote/account",
    403,
    "The gateway's own account is heard from a terminal only.",
    "Run the command in a terminal. For scripts in development, list the account in operators.accounts.",
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
    "endorsement/unknown", 404, "There is no such endorsement.", "List the ones in force: `opagate endorsements list`."
)
ENDORSEMENT_INVALID_EMPTY: Final = RefusalText(
    "endorsement/invalid",
    400,
    "The request selects no endorsements.",
    "Name an id, principal, tool or kind, or all of them.",
)

# --- lent credentials -----------------------------------------------------------------------------

CREDENTIAL_NONE: Final = RefusalText(
    "credential/none",
    200,
    "The policy allows the call with a leased credential, and the configuration has none for this system.",
    "Have the operator set `credential` of the upstream, or remove `issue_credential` from the policy.",
)
CREDENTIAL_DETAILS: Final = RefusalText(
    "credential/details",
    200,
    "The policy narrows the credential by authorization details, and only credentials of the kind `gateway` can carry them.",
    "Have the policy's author narrow the scope for this system instead.",
)
CREDENTIAL_BIND: Final = RefusalText(
    "credential/bind",
    200,
    "The policy binds the credential to one call, and only credentials of the kind `gateway` over HTTP can be.",
    "Have the policy's author leave `bind` out for this system.",
)
CREDENTIAL_CONNECT: Final = RefusalText(
    "credential/connect",
    200,
    "This system is used through the user's own connection, and {user!r} has not made one for this agent.",
    "Have the user open {address} and agree, then repeat the same call.",
)
CREDENTIAL_DECLINED: Final = RefusalText(
    "credential/declined",
    200,
    "This system is used through the user's own connection, and the user has declined to connect.",
    "Do the work without this system, or ask the user. A new link is given when the time of the declined one is over.",
)
CREDENTIAL_LOGIN: Final = RefusalText(
    "credential/login",
    200,
    "This system is used through the user's own connection, and users of this token's issuer cannot log in at this gateway.",
    "Call with a token of the identity provider that `connections.login` names.",
)
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
    "signal/{fault}", 400, "An event of {stream} is refused: {problem}.", "", _rpc.INVALID_REQUEST
)
