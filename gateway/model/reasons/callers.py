"""Reasons against callers: their identity, sessions, handles and tasks. Pure data."""

from __future__ import annotations

from typing import Final

from gateway.model import error_codes as _rpc
from gateway.model.reasons.text import RefusalText

_IDENTITY: Final = ("ASI03", "MCP07")
_CHAIN: Final = ("ASI03", "NHI2", "MCP01")


# --- identity -------------------------------------------------------------------------------------

IDENTITY_MISSING: Final = RefusalText(
    "identity/missing",
    401,
    "{problem}",
    "Send an access token in the Authorization header.",
    _rpc.UNAUTHENTICATED,
    _IDENTITY,
)
IDENTITY_MALFORMED: Final = RefusalText(
    "identity/malformed",
    401,
    "{problem}",
    "Send one Authorization header, with one signed JWT.",
    _rpc.UNAUTHENTICATED,
    _IDENTITY,
)
IDENTITY_ISSUER: Final = RefusalText(
    "identity/issuer",
    401,
    "{problem}",
    "Get a token from an authorization server of this gateway's metadata.",
    _rpc.UNAUTHENTICATED,
    _IDENTITY,
)
IDENTITY_SIGNATURE: Final = RefusalText(
    "identity/signature",
    401,
    "{problem}",
    "Get a new access token for this gateway and call again.",
    _rpc.UNAUTHENTICATED,
    _IDENTITY,
)
IDENTITY_EXPIRED: Final = RefusalText(
    "identity/expired",
    401,
    "{problem}",
    "Get a new access token for this gateway and call again.",
    _rpc.UNAUTHENTICATED,
    _IDENTITY,
)
IDENTITY_AUDIENCE: Final = RefusalText(
    "identity/audience",
    401,
    "{problem}",
    "Ask for the token with this gateway as its resource (RFC 8707).",
    _rpc.UNAUTHENTICATED,
    _IDENTITY,
)
IDENTITY_CLAIMS: Final = RefusalText(
    "identity/claims",
    401,
    "{problem}",
    "Send an access token with iss, sub, aud, exp and iat (RFC 9068).",
    _rpc.UNAUTHENTICATED,
    _IDENTITY,
)
IDENTITY_DELEGATION: Final = RefusalText(
    "identity/delegation",
    401,
    "{problem}",
    "Get a token by one token exchange from end to end (RFC 8693).",
    _rpc.UNAUTHENTICATED,
    _IDENTITY,
)
IDENTITY_PROOF: Final = RefusalText(
    "identity/proof",
    401,
    "{problem}",
    "Prove possession of the key that the token is bound to.",
    _rpc.UNAUTHENTICATED,
    _IDENTITY,
)
IDENTITY_REPLAY: Final = RefusalText(
    "identity/replay", 401, "{problem}", "Make a new proof for each request.", _rpc.UNAUTHENTICATED, _IDENTITY
)
IDENTITY_UNBOUND: Final = RefusalText(
    "identity/unbound",
    401,
    "{problem}",
    "Get a token that is bound to a DPoP key or a client certificate.",
    _rpc.UNAUTHENTICATED,
    _IDENTITY,
)
IDENTITY_CERTIFICATE: Final = RefusalText(
    "identity/certificate",
    401,
    "{problem}",
    "Present a valid X.509-SVID of the configured trust domain.",
    _rpc.UNAUTHENTICATED,
    _IDENTITY,
)
IDENTITY_REVOKED: Final = RefusalText(
    "identity/revoked",
    401,
    "{problem}",
    "Log in again, and call with a token of the new login.",
    _rpc.UNAUTHENTICATED,
    _IDENTITY,
)
IDENTITY_REVOKED_MEANWHILE: Final = RefusalText(
    "identity/revoked",
    200,
    "The login that this call comes from was ended meanwhile.",
    "Log in again, and call with a token of the new login.",
)
IDENTITY_SCOPE: Final = RefusalText(
    "identity/scope",
    403,
    "The token lacks these scopes: {scopes}.",
    "Get a token with all of the scopes that are named.",
    _rpc.UNAUTHENTICATED,
    _IDENTITY,
)
REQUEST_PATH: Final = RefusalText(
    "request/path", 404, "There is nothing at this path.", "MCP is at /mcp/<upstream>.", _rpc.INVALID_REQUEST
)
REQUEST_PATH_OF_TOKENS: Final = RefusalText(
    "request/path",
    404,
    "This gateway issues no tokens and registers no clients.",
    "Ask the authorization server that /.well-known/oauth-protected-resource names.",
    _rpc.INVALID_REQUEST,
)
REQUEST_METHOD_OF_PAGE: Final = RefusalText(
    "request/http-method", 405, "This page is only read.", "Use GET.", _rpc.INVALID_REQUEST
)
REQUEST_METHOD_OF_FORM: Final = RefusalText(
    "request/http-method", 405, "This page answers a form.", "Use POST.", _rpc.INVALID_REQUEST
)
REQUEST_INTROSPECTION: Final = RefusalText(
    "request/introspection",
    200,
    "The credentials of a question about a token are those of no upstream.",
    "Compare id and secret with authority.introspection.clients.",
    _rpc.UNAUTHENTICATED,
)
IDENTITY_PERSON: Final = RefusalText(
    "identity/person",
    403,
    "The token names no person, or an agent that acts for one.",
    "Log in yourself, and use the token of that login.",
    _rpc.UNAUTHENTICATED,
)
OPERATOR_MEMBER: Final = RefusalText(
    "operator/member",
    403,
    "You are in no group that operates the gateway.",
    "Ask an operator which groups operators.people.groups names.",
    _rpc.UNAUTHENTICATED,
)
OPERATOR_LOGIN: Final = RefusalText(
    "operator/login",
    401,
    "A change needs a login of the last {max_age} s.",
    "Log in again, and send the new token.",
    _rpc.UNAUTHENTICATED,
)
OPERATOR_ACCOUNT: Final = RefusalText(
    "operator/account",
    403,
    "This account is no operator of the gateway.",
    "Have it listed in operators.accounts, or use root.",
)
OPERATOR_ACCOUNT_OF_GATEWAY: Final = RefusalText(
    "operator/account",
    403,
    "The gateway's own account does not operate it: servers that it starts for agents may run under it.",
    "Use another account of operators.accounts.",
)
OPERATOR_TERMINAL: Final = RefusalText(
    "operator/account",
    403,
    "The gateway's own account is heard from a terminal only.",
    "Run the command in a terminal. For scripts in development, list the account in operators.accounts.",
)
CONTROL_INVALID: Final = RefusalText("control/invalid", 400, "The request cannot be read: {problem}.", "Correct it.")
CONTROL_UNKNOWN: Final = RefusalText(
    "control/unknown", 404, "No gateway has such an operation.", "Look at `x-socket` in docs/reference/openapi.json."
)
CONTROL_ABSENT: Final = RefusalText(
    "control/absent", 404, "This gateway has no {name}.", "Its configuration needs {need}."
)
JOURNAL_DAMAGED: Final = RefusalText(
    "journal/unavailable",
    503,
    "An entry of the journal cannot be read.",
    "Run `opagate journal verify`.",
    _rpc.UNAVAILABLE,
)
SOCKET_DESCENDANT: Final = RefusalText(
    "socket/descendant",
    403,
    "The gateway started this program or one of its parents, and does not hear its own programs.",
    "Run the command in a shell of your own.",
)
SOCKET_SENDER: Final = RefusalText(
    "socket/sender",
    403,
    "The request comes from another program than the connected one.",
    "Connect and ask in one program.",
)
SOCKET_UNSEEN: Final = RefusalText(
    "socket/unseen",
    403,
    "The gateway cannot see the program at the other end: it has ended, is in another container, or /proc hides it.",
    "Run the command in the gateway's own container, and let the gateway see /proc.",
)
SOCKET_BUSY: Final = RefusalText(
    "socket/busy", 503, "Too many programs are connected to this socket.", "Close some, and try again."
)

# --- sessions and handles -------------------------------------------------------------------------

SESSION_MISSING: Final = RefusalText(
    "session/missing", 400, "A stream is resumed without its session.", "Send Mcp-Session-Id."
)
SESSION_UNKNOWN: Final = RefusalText(
    "session/unknown", 404, "There is no such session.", "Start a new one with initialize."
)
SESSION_FOREIGN: Final = RefusalText(
    "session/foreign",
    400,
    "This task or request state was not given to you.",
    "Start over without it.",
    _rpc.INVALID_PARAMS,
)
SESSION_FOREIGN_UNDECLARED: Final = RefusalText(
    "session/foreign",
    400,
    "This task was not given to you, and the request does not declare that its client takes tasks.",
    "Start over without it, and declare the extension {extension} with each request.",
    _rpc.MISSING_CAPABILITY,
)
SESSION_FOREIGN_ANSWER: Final = RefusalText(
    "session/foreign", 400, "This answers a question that you were not asked.", "Answer what comes on your streams."
)
SESSION_NOT_UNDER_WAY: Final = RefusalText(
    "session/not-under-way",
    202,
    "This takes back a request that is none of yours, or that has ended, so it goes no further.",
    "Close the connection of a request to take it back.",
)
SESSION_NOT_UNDER_WAY_TASK: Final = RefusalText(
    "session/not-under-way",
    202,
    "This tells of a task of yours, which the server cannot tell from others' outside of a session, so it goes no further.",
    "Open a session first.",
)
CREDENTIAL_CHAIN_OUTSIDE: Final = RefusalText(
    "credential-chain/outside-arguments",
    400,
    "A credential that another system answered with stands outside the arguments of a call.",
    "Leave it out. If the task needs to carry it, carry it in an argument, where policy can decide on it.",
    _rpc.REFUSED,
    _CHAIN,
)
CREDENTIAL_CHAIN_GATEWAY: Final = RefusalText(
    "credential-chain/gateway",
    400,
    "The message carries a credential that the gateway holds for another system, or would complete half of one.",
    "Leave it out: the gateway itself shows its credentials to the systems that they are for.",
    _rpc.REFUSED,
    _CHAIN,
)
CREDENTIAL_CHAIN_INCOMPLETE: Final = RefusalText(
    "credential-chain/incomplete",
    400,
    "The message cannot be searched for all credentials that this caller has been shown: it is too large, or these were too many.",
    "Send less beside the arguments of a call, and no uncommon words, or answer with less.",
    _rpc.REFUSED,
    _CHAIN,
)
CREDENTIAL_CHAIN_PRESENTATION: Final = RefusalText(
    "credential-chain/presentation",
    200,
    "The call carries a credential that another system answered with.",
    "Use the handle only where it came from.",
    _rpc.DENIED,
    ("ASI03", "NHI2", "NHI9", "MCP01"),
)
CREDENTIAL_CHAIN_HANDLE: Final = RefusalText(
    "credential-chain/handle",
    200,
    "{problem}",
    "Leave the handle alone in an argument, as it was given to you.",
    _rpc.REFUSED,
    _CHAIN,
)
CREDENTIAL_CHAIN_HANDLE_UNKNOWN: Final = RefusalText(
    "credential-chain/handle",
    200,
    "A handle is not known in this task.",
    "Read again what gave it to you, and use the new one.",
    _rpc.REFUSED,
    _CHAIN,
)
CREDENTIAL_CHAIN_HANDLE_TOO_LARGE: Final = RefusalText(
    "credential-chain/handle",
    200,
    "A handle stands for more than could be kept.",
    "Read the credential again in a smaller result.",
    _rpc.REFUSED,
    _CHAIN,
)
CREDENTIAL_CHAIN_HANDLE_PLACE: Final = RefusalText(
    "credential-chain/handle",
    200,
    "What a handle stands for cannot be put where the handle stands.",
    "Give the handle alone, or after a word such as Bearer, in an argument for a credential.",
    _rpc.REFUSED,
    _CHAIN,
)
CREDENTIAL_CHAIN_HANDLE_UNREADABLE: Final = RefusalText(
    "credential-chain/handle",
    200,
    "What a handle stands for cannot be sent.",
    "Read the credential again, and use the new handle.",
    _rpc.REFUSED,
    _CHAIN,
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
