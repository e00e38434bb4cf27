"""Headers that operators let through."""

from __future__ import annotations

import pytest

from gateway.model.wire import find_problem_of_added


@pytest.mark.parametrize(
    "name",
    [
        "authorization", "Proxy-Authorization", "x-authorization", "x-auth", "x_auth_token", "x-amz-security-token", "x-api-key",
        "apikey", "api-key", "x-functions-key", "cookie", "x-goog-api-key", "x-vault-token", "private-token", "dpop",
        "x-session-id", "x-secret", "x-password", "ocp-apim-subscription-key", "x-jwt", "x-hub-signature", "connection", "te",
        "host", "content-type", "content-length", "accept", "accept-encoding", "traceparent", "baggage", "mcp-session-id",
        "mcp-param-x", "opagate-task", "x-forwarded-for", "x-remote-user", "origin", "x-http-method-override",
    ],
)  # fmt: skip
def test_no_operator_lets_credentials_or_the_gateways_own_affairs_through(name: str):
    assert find_problem_of_added(name) is not None


@pytest.mark.parametrize(
    "name",
    ["x-tenant", "X-Request-Id", "accept-language", "user-agent", "x-author", "x-keyboard", "idempotency-key-hint"],
)
def test_an_operator_lets_others_through(name: str):
    assert (find_problem_of_added(name) is None) is ("key-" not in name)
