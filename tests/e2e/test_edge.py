"""Who may come in, and how: TLS, certificates, proofs of possession, challenges, limits, pages and traces."""

from __future__ import annotations

import http.client
import json
import secrets
import ssl
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from tests.e2e import certificates
from tests.e2e.collector import collecting
from tests.e2e.conftest import policy
from tests.e2e.faults import problems
from tests.e2e.running import mortal_gateway
from tests.e2e.wire import Answer, Caller, Sent, call, caller, entries, legacy, metric, page, until
from tests.gateway_process import GatewayProcess, free_port, open_config, running_gateway
from tests.requirements import requirement
from tests.servers.echo import Recorder
from tests.servers.serving import ServerProcess
from tests.unit.identity.tokens import Authority, Signer, proof

ISSUER = "https://idp.example"


# --- what HTTP alone refuses -----------------------------------------------------------------------


def raw(gateway: GatewayProcess, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    connection = http.client.HTTPConnection(gateway.origin.removeprefix("http://"), timeout=300)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


GOOD = call("echo").body


@requirement("mcp/host-origin", "mcp/request-limit", "invariant/7")
@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "code"),
    [
        ("POST", "/mcp/echo", {"content_type": "text/plain"}, GOOD, 415, "request/content-type"),
        (
            "POST",
            "/mcp/echo",
            {"content_type": "application/json", "content_encoding": "gzip"},
            GOOD,
            415,
            "request/compressed",
        ),
        ("POST", "/mcp/echo", {"content_type": "application/json"}, b"x" * 70_000, 413, "request/too-large"),
        (
            "POST",
            "/mcp/echo",
            {"content_type": "application/json", "origin": "https://evil.example"},
            GOOD,
            403,
            "request/origin",
        ),
        ("POST", "/mcp/echo", {"content_type": "application/json", "host": "evil.example"}, GOOD, 403, "request/host"),
        ("POST", "/mcp%2Fecho", {"content_type": "application/json"}, GOOD, 404, "request/path"),
        ("POST", "/mcp/%65cho", {"content_type": "application/json"}, GOOD, 404, "upstream/unknown"),
        ("PUT", "/mcp/echo", {}, b"", 405, "request/http-method"),
        ("POST", "/healthz", {}, b"", 405, "request/http-method"),
        ("GET", "/nothing", {}, None, 404, "request/path"),
        ("POST", "/mcp/nothing", {"content_type": "application/json"}, GOOD, 404, "upstream/unknown"),
        ("POST", "/mcp/echo//", {"content_type": "application/json"}, GOOD, 404, "upstream/unknown"),
        ("POST", "/mcp/%65cho%00", {"content_type": "application/json"}, GOOD, 404, "upstream/unknown"),
    ],
)
def test_what_http_alone_shows_to_be_wrong_is_refused_and_recorded(
    gateway: GatewayProcess,
    recorder: Recorder,
    *,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes | None,
    status: int,
    code: str,
):
    before = metric(gateway, "opagate_refusals_total", code=code)
    answer = raw(gateway, method, path, body, **headers)

    assert (answer.status, answer.codes) == (status, [code])
    assert recorder.requests() == []
    assert metric(gateway, "opagate_refusals_total", code=code) == before + 1
    (entry,) = [entry for entry in entries(gateway.folder, "refused") if entry["id"] == answer.decision]
    assert entry["reasons"][0]["code"] == code


@requirement("operations/in-flight")
def test_more_calls_at_once_than_configured_are_refused(echo_server: ServerProcess, recorder: Recorder, tmp_path: Path):
    setup = open_config(policy(tmp_path), {"echo": echo_server.mcp}) + "limits: {in_flight: 1}\n"
    with running_gateway(setup, tmp_path) as gateway:
        with Caller(gateway).open("POST", call("hold", key="in-flight")) as answer:
            answer.readline()
            second = Caller(gateway).call("echo")
            assert (second.status, second.codes) == (503, ["limit/in-flight"])
            recorder.release("in-flight")
            answer.read()
        until(lambda: metric(gateway, "opagate_in_flight") == 0)
        assert Caller(gateway).call("echo", text="third").text == "third"


# --- OAuth -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer(issuer=ISSUER)


@pytest.fixture(scope="module")
def with_oauth(
    signer: Signer, echo_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Generator[GatewayProcess]:
    """A gateway that takes tokens of one issuer, with one scope required."""
    folder = tmp_path_factory.mktemp("oauth")
    (folder / "jwks.json").write_bytes(signer.jwks())
    identity = f"[{{kind: jwt, issuer: '{ISSUER}', jwks: 'file:jwks.json', required_scopes: [mcp.call, mcp.read]}}]"
    setup = open_config(policy(folder), {"echo": echo_server.mcp}).replace("[{kind: anonymous}]", identity)
    with running_gateway(setup, folder) as gateway:
        yield gateway


def signed(signer: Signer, gateway: GatewayProcess, **changes: Any) -> str:
    now = int(time.time())
    good: dict[str, Any] = {
        "sub": "alice",
        "aud": f"{gateway.origin}/mcp",
        "iat": now,
        "exp": now + 300,
        "scope": "mcp.call mcp.read",
        "jti": secrets.token_hex(8),
    }
    return signer.token(**(good | changes))


def bearing(gateway: GatewayProcess, token: str, scheme: str = "Bearer", **headers: str) -> Caller:
    return Caller(gateway, headers={"authorization": f"{scheme} {token}", **headers})


@requirement("rfc9728/challenge", "rfc9728/metadata")
def test_a_caller_without_a_token_is_told_where_to_get_one(with_oauth: GatewayProcess):
    answer = Caller(with_oauth).call("echo")
    challenge = answer.headers["www-authenticate"]

    assert answer.status == 401
    assert "error=" not in challenge
    metadata = challenge.partition('resource_metadata="')[2].partition('"')[0]
    assert metadata == f"{with_oauth.origin}/.well-known/oauth-protected-resource/mcp/echo"
    status, text = page(with_oauth, metadata.removeprefix(with_oauth.origin))
    assert status == 200
    document = json.loads(text)
    assert document["resource"] == f"{with_oauth.origin}/mcp/echo"
    assert document["authorization_servers"] == [ISSUER]


@requirement("rfc6750/scope")
def test_a_caller_that_lacks_scopes_is_told_all_of_them_at_once(signer: Signer, with_oauth: GatewayProcess):
    answer = bearing(with_oauth, signed(signer, with_oauth, scope="other")).call("echo")

    assert answer.status == 403
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    assert 'scope="mcp.call mcp.read"' in answer.headers["www-authenticate"]


@requirement("rfc8707/audience", "rfc8693/delegation")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aud": "https://elsewhere.example/mcp"}, "identity/audience"),
        ({"exp": int(time.time()) - 3600, "iat": int(time.time()) - 7200}, "identity/expired"),
        ({"iss": "https://elsewhere.example"}, "identity/issuer"),
        ({"act": {"sub": "x", "iss": "https://elsewhere.example"}}, "identity/delegation"),
    ],
)
def test_a_token_that_does_not_hold_is_refused(
    signer: Signer, with_oauth: GatewayProcess, recorder: Recorder, changes: dict[str, Any], code: str
):
    answer = bearing(with_oauth, signed(signer, with_oauth, **changes)).call("echo")

    assert (answer.status, answer.codes) == (401, [code])
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert recorder.requests() == []


@requirement("rfc9449/proof")
def test_a_bound_token_needs_a_proof_for_each_request(signer: Signer, with_oauth: GatewayProcess, recorder: Recorder):
    key = ECKey.generate_key("P-256")
    token = signed(signer, with_oauth, cnf={"jkt": key.thumbprint()})

    def proven(**changes: Any) -> str:
        fresh: dict[str, Any] = {"url": with_oauth.mcp("echo"), "iat": int(time.time()), "jti": secrets.token_hex(8)}
        return proof(key, token, **(fresh | changes))

    once = proven()
    assert bearing(with_oauth, token, "DPoP", dpop=once).call("echo", text="proven").text == "proven"
    recorder.take()
    assert bearing(with_oauth, token, "DPoP", dpop=once).call("echo").codes == ["identity/replay"]
    # What a proof is for is the gateway's address as configured, whatever the target of the request names.
    whole = with_oauth.mcp("echo").replace("http://", "https://")
    fields = {"authorization": f"DPoP {token}", "content_type": "application/json"}
    assert raw(with_oauth, "POST", whole, GOOD, **fields, dpop=proven(url=whole)).codes == ["identity/proof"]
    assert raw(with_oauth, "POST", whole, GOOD, **fields, dpop=proven()).status == 200
    recorder.take()
    for wrong in (proven(url=f"{with_oauth.origin}/mcp/other"), proven(method="GET"), proven(iat=1)):
        answer = bearing(with_oauth, token, "DPoP", dpop=wrong).call("echo")
        assert (answer.status, answer.codes) == (401, ["identity/proof"])
        assert answer.headers["www-authenticate"].startswith("DPoP ")
    assert bearing(with_oauth, token).call("echo").status == 401
    assert recorder.requests() == []


@requirement("rfc8693/delegation")
def test_a_delegation_is_in_the_record(signer: Signer, with_oauth: GatewayProcess):
    token = signed(signer, with_oauth, sub="user-1", act={"sub": "alice"})

    assert bearing(with_oauth, token).call("echo", text="for a user").text == "for a user"
    principal = entries(with_oauth.folder, "call")[-1]["principal"]
    assert (principal["id"], principal["user"]) == ("alice", "user-1")


# --- TLS -------------------------------------------------------------------------------------------


@requirement("spiffe/x509")
def test_a_workload_is_known_by_its_x509_svid(echo_server: ServerProcess, recorder: Recorder, tmp_path: Path):
    """TLS with a verified client certificate, end to end; certificates of others and none at all are refused."""
    corp, other = Authority("corp", now=time.time()), Authority("other", now=time.time())
    region = Authority("region", now=time.time(), above=corp)
    pair = certificates.server(corp, tmp_path)
    trusted = certificates.written(corp, tmp_path, "corp")
    certificates.bundle(corp, tmp_path)
    tls = f"tls: {{certificate: '{pair.certificate}', key: '{pair.key}', client_ca: '{trusted}'}}\n"
    identity = "[{kind: spiffe, trust_domain: corp, bundle: 'file:bundle.json', x509: true}]"
    setup = open_config(policy(tmp_path), {"echo": echo_server.mcp}).replace("[{kind: anonymous}]", identity)
    setup = setup.replace("agents: [alice", "agents: [spiffe://corp/agent, alice") + tls
    grants = tmp_path / "policy/gateway/grants/data.yaml"
    grants.write_text(grants.read_text().replace("[alice, ", "['spiffe://corp/agent', alice, "), "utf-8")

    def presenting(found: certificates.Pair | None) -> Caller:
        return Caller(gateway, tls=certificates.client_context(trusted, found))

    agent = certificates.svid(corp, tmp_path, "agent", "spiffe://corp/agent")
    foreign = certificates.svid(corp, tmp_path, "foreign", "spiffe://elsewhere/agent")
    below = certificates.svid(region, tmp_path, "below", "spiffe://corp/agent")
    forged = certificates.svid(other, tmp_path, "forged", "spiffe://corp/agent")
    with mortal_gateway(setup, tmp_path, tls=certificates.client_context(trusted)) as gateway:
        assert presenting(agent).call("echo", text="known").text == "known"
        assert presenting(below).call("echo", text="through another").text == "through another"
        recorder.take()
        assert presenting(None).call("echo").codes == ["identity/missing"]
        assert presenting(foreign).call("echo").codes == ["identity/certificate"]
        with pytest.raises((ssl.SSLError, ConnectionError)):
            presenting(forged).call("echo")
        assert recorder.requests() == []
    principal = entries(tmp_path, "call")[-1]["principal"]
    assert (principal["id"], principal["method"]) == ("spiffe://corp/agent", "spiffe-x509")


# --- traces and metrics ----------------------------------------------------------------------------

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@requirement("operations/trace")
def test_a_trace_passes_on_as_it_came_without_a_collector(gateway: GatewayProcess, recorder: Recorder):
    Caller(gateway).ask(call("echo"), headers={"traceparent": PARENT, "tracestate": "vendor=1"})

    headers = next(record["headers"] for record in recorder.requests() if "tools/call" in record["body"])
    assert ["traceparent", PARENT] in headers
    assert ["tracestate", "vendor=1"] in headers
    assert entries(gateway.folder, "call")[-1]["trace_id"] == PARENT.split("-")[1]


@requirement("operations/trace")
def test_a_collector_gets_the_spans_of_each_request_within_the_callers_trace(
    echo_server: ServerProcess, recorder: Recorder, tmp_path: Path
):
    with collecting() as collector:
        setup = f"{open_config(policy(tmp_path), {'echo': echo_server.mcp})}telemetry: {{{collector.setting}}}\n"
        with running_gateway(setup, tmp_path) as gateway:
            recorder.take()
            Caller(gateway).ask(call("echo"), headers={"traceparent": PARENT})
            Caller(gateway).ask(legacy("nonsense"), headers={"traceparent": PARENT})
            Caller(gateway, "a-secret-in-the-path").ask(call("echo"))
    decided, upstream, allowed, refused, lost = collector.spans
    passed = [
        dict(record["headers"])["traceparent"] for record in recorder.requests() if "tools/call" in record["body"]
    ]
    trace_id = PARENT.split("-")[1]
    assert [span.trace_id.hex() for span in (allowed, refused)] == [trace_id, trace_id]
    assert allowed.parent_span_id.hex() == PARENT.split("-")[2]
    assert passed == [f"00-{trace_id}-{upstream.span_id.hex()}-01"]
    assert {span.parent_span_id for span in (decided, upstream)} == {allowed.span_id}
    assert (allowed.name, upstream.name, decided.name) == ("tools/call echo", "tools/call echo", "opagate.decide")
    assert entries(tmp_path, "call")[-1]["span_id"] == allowed.span_id.hex()
    attributes = {item.key: item.value.string_value for item in allowed.attributes}
    assert attributes["opagate.outcome"] == "completed"
    assert attributes["opagate.decision.id"] == entries(tmp_path, "call")[-1]["id"]
    assert {item.key: item.value.string_value for item in refused.attributes}["opagate.reason"] == "request/method"
    assert "secret" not in lost.name


@requirement("operations/metrics")
def test_the_metrics_tell_what_was_decided_and_how_it_ended(gateway: GatewayProcess):
    before = metric(gateway, "opagate_calls_total", upstream="echo", effect="allow", code="allowed")
    settled = metric(gateway, "opagate_settled_total", upstream="echo", outcome="completed")
    denied = metric(gateway, "opagate_calls_total", upstream="echo", effect="deny")
    Caller(gateway).call("echo")
    caller(gateway, "bob", "echo").call("stream")

    assert metric(gateway, "opagate_calls_total", upstream="echo", effect="allow", code="allowed") == before + 1
    assert metric(gateway, "opagate_calls_total", upstream="echo", effect="deny") == denied + 1
    until(lambda: metric(gateway, "opagate_settled_total", upstream="echo", outcome="completed") > settled)
    assert metric(gateway, "opagate_call_seconds_count", upstream="echo") > 0


@requirement("operations/readiness")
def test_readiness_follows_what_the_gateway_needs(echo_server: ServerProcess, tmp_path: Path):
    """An issuer whose keys cannot be had makes the gateway live, but not ready, and named."""
    port = free_port()
    identity = f"[{{kind: jwt, issuer: '{ISSUER}', jwks: 'http://127.0.0.1:{port}/keys'}}]"
    setup = open_config(policy(tmp_path), {"echo": echo_server.mcp}).replace("[{kind: anonymous}]", identity)
    with mortal_gateway(setup, tmp_path, awaited="/healthz") as gateway:
        until(lambda: f"identity {ISSUER}" in problems(gateway))


def test_the_health_page_says_only_that_it_lives(gateway: GatewayProcess):
    assert page(gateway, "/healthz") == (200, '{"status":"ok"}')


def test_a_page_answers_head_without_a_body(gateway: GatewayProcess):
    answer = raw(gateway, "HEAD", "/healthz")

    assert (answer.status, answer.body) == (200, b"")


def test_a_body_that_is_no_message_is_refused_with_its_reason(gateway: GatewayProcess, recorder: Recorder):
    assert Caller(gateway).ask(Sent(b'{"a":1,"a":2}')).codes == ["request/duplicate-key"]
    assert recorder.requests() == []


@requirement("operations/probes")
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_the_kubelet_and_prometheus_are_answered_at_the_address_of_the_pod(gateway: GatewayProcess, path: str):
    before = len(entries(gateway.folder, "refused"))
    assert raw(gateway, "GET", path, host="10.42.0.17:8080").status == 200
    assert len(entries(gateway.folder, "refused")) == before
