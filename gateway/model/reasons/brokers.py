"""Reasons of brokers that lend no credential for an allowed call. Pure data."""

from __future__ import annotations

from typing import Final

from gateway.model.reasons.text import RefusalText

_AT_SERVER: Final = "Have the operator look at the authorization server."
_AT_CLIENT: Final = "Have the operator look at the gateway's client at the authorization server."
_AT_IDENTITY_PROVIDER: Final = (
    "Have the operator compare the identity provider's settings for the gateway with those of this system."
)
_LATER: Final = "Try again later."

# --- before a broker is asked -----------------------------------------------------------------------

CREDENTIAL_BROKER: Final = RefusalText(
    "credential/unavailable",
    200,
    "There is no broker {broker}.",
    "Have the operator configure it under `authority.brokers`.",
)
CREDENTIAL_PAUSED: Final = RefusalText(
    "credential/unavailable",
    200,
    "The broker of this system gave no credential a moment ago, so the gateway does not ask it yet.",
    "Try again in {seconds} s.",
)
CREDENTIAL_STUCK: Final = RefusalText(
    "credential/stuck",
    200,
    "The gateway could not end an earlier credential of this system, so it lends no more.",
    "Ask the operator to look at `opagate leases list --stuck`.",
)
CREDENTIAL_TTL: Final = RefusalText(
    "credential/ttl",
    200,
    "The time left for the call is shorter than the shortest life of a credential of this system.",
    "Begin a new task, or renew your own token, and call again.",
)
CREDENTIAL_TOO_MANY: Final = RefusalText(
    "credential/too-many",
    200,
    "The gateway has lent as many credentials as it may.",
    "End tasks that are done, then call again.",
)
CREDENTIAL_TOO_MANY_CALLS: Final = RefusalText(
    "credential/too-many", 200, "Too many calls with tokens of their own are in flight.", "Wait for some to end."
)
CREDENTIAL_DIGEST: Final = RefusalText(
    "credential/digest",
    200,
    "The call has no canonical JSON form, so no token can be bound to it.",
    "Send numbers and texts that RFC 8785 can write.",
)

# --- a broker's answer ------------------------------------------------------------------------------

CREDENTIAL_LATE: Final = RefusalText(
    "credential/unavailable",
    200,
    "The broker {broker} gave no credential in time.",
    "Try again. If it goes on, have the operator look at the gateway's log.",
)
CREDENTIAL_FAILED: Final = RefusalText(
    "credential/unavailable", 200, "The broker {broker} gave no credential: {problem}.", "{remedy}"
)
CREDENTIAL_UNAVAILABLE: Final = RefusalText(
    "credential/unavailable", 200, "The broker {broker} has no credential: {problem}.", _LATER
)
CREDENTIAL_REFUSED: Final = RefusalText(
    "credential/refused", 200, "The broker {broker} has no credential: {problem}.", _AT_SERVER
)
CREDENTIAL_ENDED: Final = RefusalText(
    "credential/ended",
    200,
    "The task, or its right to this credential, ended before the credential was lent.",
    "Begin a new task if you may.",
)
CREDENTIAL_WIDER: Final = RefusalText(
    "credential/wider",
    200,
    "The issuer gave a wider credential than the gateway asked for, so the gateway ended it.",
    "Have the operator correct the issuer's settings for this gateway.",
)
CREDENTIAL_WIDER_LIFE: Final = RefusalText(
    "credential/wider",
    200,
    "The issuer gave a credential that lives longer than its lease and cannot be ended early.",
    "Have the operator shorten the life of the issuer's tokens, or lengthen the lease (`authority.ttl`).",
)
CREDENTIAL_WIDER_TOKEN: Final = RefusalText(
    "credential/wider",
    200,
    "The gateway does not use the token that {issuer} gave: {problem}.",
    "Have the operator narrow the gateway's client at the authorization server, or the settings of the broker.",
)

# --- tokens of an authorization server --------------------------------------------------------------

CREDENTIAL_TOKEN_REFUSED: Final = RefusalText(
    "credential/refused", 200, "{issuer} gave no token: {problem}.", _AT_CLIENT
)
CREDENTIAL_TOKEN_UNAVAILABLE: Final = RefusalText(
    "credential/unavailable", 200, "{issuer} gave no token: {problem}.", _LATER
)
CREDENTIAL_TOKEN_MALFORMED: Final = RefusalText(
    "credential/malformed", 200, "The answer of {issuer} {problem}.", _AT_SERVER
)
CREDENTIAL_SUBJECT: Final = RefusalText(
    "credential/subject",
    200,
    "The broker {broker} exchanges access tokens of {issuer}, and this caller has none.",
    "Call with an access token of {issuer}.",
)
CREDENTIAL_SUBJECT_ABSENT: Final = RefusalText(
    "credential/subject",
    200,
    "This system takes users of {issuer}, and this caller has no access token of it.",
    "Call with an access token of {issuer}.",
)
CREDENTIAL_SUBJECT_OTHER: Final = RefusalText(
    "credential/subject",
    200,
    "The identity provider gave an ID token of another user, or for another client.",
    "Have the operator look at the gateway's client at the identity provider.",
)
CREDENTIAL_SUBJECT_UNPROVEN: Final = RefusalText(
    "credential/malformed",
    200,
    "The identity provider gave no ID token at the refresh.",
    "Have the operator set `id_jag.subject: refresh_token`, if the provider takes a refresh token as the proof.",
)
CREDENTIAL_ACTOR: Final = RefusalText(
    "credential/actor",
    200,
    "The actor's token of the broker {broker} is no JWT with a sub.",
    "Have the operator look at {file}.",
)

# --- assertions of an identity provider -------------------------------------------------------------

_ASSERTION: Final = "The gateway does not present the assertion that {issuer} gave: {problem}."

CREDENTIAL_ASSERTION_MALFORMED: Final = RefusalText(
    "credential/assertion-malformed", 200, _ASSERTION, _AT_IDENTITY_PROVIDER
)
CREDENTIAL_ASSERTION_TYPE: Final = RefusalText("credential/assertion-type", 200, _ASSERTION, _AT_IDENTITY_PROVIDER)
CREDENTIAL_ASSERTION_ISSUER: Final = RefusalText("credential/assertion-issuer", 200, _ASSERTION, _AT_IDENTITY_PROVIDER)
CREDENTIAL_ASSERTION_AUDIENCE: Final = RefusalText(
    "credential/assertion-audience", 200, _ASSERTION, _AT_IDENTITY_PROVIDER
)
CREDENTIAL_ASSERTION_CLIENT: Final = RefusalText("credential/assertion-client", 200, _ASSERTION, _AT_IDENTITY_PROVIDER)
CREDENTIAL_ASSERTION_USER: Final = RefusalText("credential/assertion-user", 200, _ASSERTION, _AT_IDENTITY_PROVIDER)
CREDENTIAL_ASSERTION_RESOURCE: Final = RefusalText(
    "credential/assertion-resource", 200, _ASSERTION, _AT_IDENTITY_PROVIDER
)
CREDENTIAL_ASSERTION_SCOPE: Final = RefusalText("credential/assertion-scope", 200, _ASSERTION, _AT_IDENTITY_PROVIDER)
CREDENTIAL_ASSERTION_EXPIRED: Final = RefusalText(
    "credential/assertion-expired", 200, _ASSERTION, _AT_IDENTITY_PROVIDER
)
CREDENTIAL_ASSERTION_REPLAYED: Final = RefusalText(
    "credential/assertion-replayed", 200, _ASSERTION, _AT_IDENTITY_PROVIDER
)
CREDENTIAL_ASSERTION_UNANSWERED: Final = RefusalText(
    "credential/unavailable",
    200,
    "The broker {broker} has no assertion: {problem}.",
    "Try again. If it goes on, have the operator look at the identity provider.",
)
CREDENTIAL_ASSERTION_UNAVAILABLE: Final = RefusalText(
    "credential/unavailable", 200, "{issuer} gave no assertion for {server}: {problem}.", _LATER
)
CREDENTIAL_ASSERTION_REFUSED: Final = RefusalText(
    "credential/refused",
    200,
    "{issuer} gave no assertion for {server}: {problem}.",
    "Ask an administrator of the identity provider, who decides which users may use this system with the gateway.",
)
CREDENTIAL_SERVER_UNFIT: Final = RefusalText(
    "credential/refused",
    200,
    "{issuer} cannot be used for ID-JAG: {problem}.",
    "Have the operator compare the server with `authority.brokers.{broker}`.",
)

# --- OpenBao and AWS ----------------------------------------------------------------------------------

CREDENTIAL_SECRET_UNAVAILABLE: Final = RefusalText(
    "credential/unavailable", 200, "The broker {broker} has no secret: {problem}.", _LATER
)
CREDENTIAL_SECRET_REFUSED: Final = RefusalText(
    "credential/refused",
    200,
    "The broker {broker} has no secret: {problem}.",
    "Have the operator look at the policies and the path in OpenBao.",
)
CREDENTIAL_SECRET_MALFORMED: Final = RefusalText(
    "credential/malformed",
    200,
    "The broker {broker} has no secret: {problem}.",
    "Have the operator look at the policies and the path in OpenBao.",
)
CREDENTIAL_SESSION_UNAVAILABLE: Final = RefusalText(
    "credential/unavailable", 200, "The broker {broker} has no session: {problem}.", _LATER
)
CREDENTIAL_SESSION_REFUSED: Final = RefusalText(
    "credential/refused",
    200,
    "The broker {broker} has no session: {problem}.",
    "Have the operator look at the role and its trust policy.",
)
CREDENTIAL_SESSION_MALFORMED: Final = RefusalText(
    "credential/malformed",
    200,
    "The broker {broker} has no session: {problem}.",
    "Have the operator look at the role and its trust policy.",
)
CREDENTIAL_SESSION_SCOPE: Final = RefusalText(
    "credential/scope",
    200,
    "The session policy for this call would have more than {most} characters.",
    "Have the operator shorten the actions and resources of the broker {broker}.",
)

# --- connections of users, and the gateway's own tokens -----------------------------------------------

CREDENTIAL_CONNECT_ABSENT: Final = RefusalText(
    "credential/connect",
    200,
    "This system is used through the user's own connection, and the user has none.",
    "Have the user connect, then repeat the same call.",
)
CREDENTIAL_NO_USER: Final = RefusalText(
    "credential/no-user",
    200,
    "This system is used through users' own connections, and this caller acts for no user.",
    "Call with a token that names a user.",
)
CREDENTIAL_SCOPE_OF_CONNECTION: Final = RefusalText(
    "credential/scope",
    200,
    "The user's connection to {issuer} lacks the scope {scope!r}, which this call needs.",
    "Have the operator remove the connection (`opagate connections revoke`), and the user connect again with all scopes.",
)
CREDENTIAL_CONNECTION_SERVER: Final = RefusalText("credential/unavailable", 200, "{problem}", "{remedy}")
CREDENTIAL_ROOM: Final = RefusalText(
    "credential/room",
    200,
    "The gateway has no room for another active token.",
    "Try again when other tasks have ended.",
)
CREDENTIAL_SIZE: Final = RefusalText(
    "credential/size",
    200,
    "The access token would be longer than {most} characters.",
    "Shorten the delegation chain, the scopes, or the details of policy.",
)
CREDENTIAL_DETAILS_OF_CALL: Final = RefusalText(
    "credential/details",
    200,
    "The authorization details of policy do not name this call.",
    "Have the policy's author name the tool in `actions` of `issue_credential`, or leave its details out.",
)
