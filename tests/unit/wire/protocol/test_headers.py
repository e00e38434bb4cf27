"""Routing headers, and what travels on."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.inbound import decode_header_value, encode_header_value

from gateway.model.wire import Era, Headers
from gateway.wire.protocol.headers import (
    USUAL_NAMES,
    HeaderFault,
    ResponseHead,
    Routing,
    added_headers,
    decode,
    disagreement,
    encode,
    forwardable_request,
    group_headers,
    is_passed_on,
    read_response_head,
    read_routing,
)
from gateway.wire.protocol.methods import TABLE


def fault(*headers: tuple[bytes, bytes]) -> str:
    outcome = read_routing(group_headers(headers))
    assert isinstance(outcome, HeaderFault), outcome
    return outcome.message


def names(headers: Headers) -> set[bytes]:
    return {name for name, _ in headers}


def test_the_routing_headers_are_read():
    headers = (
        (b"mcp-protocol-version", b" 2026-07-28\t"),
        (b"mcp-method", b"tools/call"),
        (b"mcp-name", b"=?base64?SGVsbG8sIOS4lueVjA==?="),
        (b"mcp-session-id", b"1868a90c"),
        (b"mcp-param-region", b"one"),
        (b"mcp-param-region", b"two"),
    )
    assert read_routing(group_headers(headers)) == Routing("2026-07-28", "tools/call", "Hello, 世界")


def test_absent_headers_are_none():
    assert read_routing(group_headers(((b"accept", b"*/*"),))) == Routing()


@pytest.mark.parametrize("name", [b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"mcp-session-id"])
@pytest.mark.parametrize("second", [b"a", b"b"])
def test_a_repeated_routing_header_is_refused_even_if_equal(name: bytes, second: bytes):
    assert "more than once" in fault((name, b"a"), (b"accept", b"*/*"), (name, second))


@pytest.mark.parametrize("name", [b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"mcp-session-id"])
@pytest.mark.parametrize("value", [b"a\x00b", b"a\x7f", b"a\rb", b"a\nb", b"caf\xe9", "名".encode()])
def test_a_character_that_a_header_must_not_have_is_refused(name: bytes, value: bytes):
    assert "characters" in fault((name, value))


@pytest.mark.parametrize("name", [b"mcp-protocol-version", b"mcp-session-id"])
@pytest.mark.parametrize("value", [b"", b"a b", b"x" * 4097])
def test_a_version_or_session_that_is_no_token_is_refused(name: bytes, value: bytes):
    assert "characters" in fault((name, value))


@pytest.mark.parametrize("value", [b"mcp-name", b"close, Mcp-Protocol-Version", b"keep-alive,MCP-SESSION-ID "])
def test_a_connection_header_that_would_strip_a_routing_header_is_refused(value: bytes):
    assert "Connection" in fault((b"connection", value))


def test_a_connection_header_about_others_is_none_of_its_business():
    assert read_routing(group_headers(((b"connection", b"keep-alive, x-hop"), (b"x-note", b"mcp-name")))) == Routing()


@pytest.mark.parametrize(
    "text",
    ["us-west1", "", "a b", "a\tb", " a", "a\t", "a\r\nx-evil: 1", "\x7f", "Zürich, 世界", "=?base64?YQ==?="],
)
def test_whatever_is_said_in_a_header_is_read_as_it_was(text: str):
    said = encode(text).decode("ascii")

    assert said.isprintable() or said == "a\tb"
    assert said == said.strip()
    assert decode(said) == decode_header_value(said) == text


def test_what_can_stand_in_a_header_stands_there_as_it_is():
    assert encode("us-west1 b") == b"us-west1 b"


# --- the Base64 sentinel -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("us-west1", "us-west1"),
        ("=?base64?IHBhZGRlZCA=?=", " padded "),
        ("=?base64?bGluZTEKbGluZTI=?=", "line1\nline2"),
        ("=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=", "=?base64?literal?="),
        ("=?base64??=", ""),
        ("=?BASE64?YQ==?=", "=?BASE64?YQ==?="),
        ("=?base64?YQ==", "=?base64?YQ=="),
    ],
)
def test_the_sentinel_is_undone_as_the_specification_shows(value: str, text: str):
    assert decode(value) == text


@pytest.mark.parametrize("payload", ["YQ=", "YQ", "YR==", "Y Q==", "YQ==\n", "_-_-", "/w==", "7aCA", "é"])
def test_a_malformed_or_not_canonical_sentinel_matches_nothing(payload: str):
    assert decode(f"=?base64?{payload}?=") is None


def test_a_malformed_name_is_a_fault():
    assert "Base64" in fault((b"mcp-name", b"=?base64?YR==?="))


@given(st.text())
def test_any_name_survives_the_way_there_and_back(name: str):
    assert decode(encode_header_value(name)) == name


@given(
    st.text(st.characters(max_codepoint=0x7E, min_codepoint=0x20))
    | st.binary().map(lambda data: f"=?base64?{base64.b64encode(data).decode()}?=")
)
def test_decoding_agrees_with_the_sdk(value: str):
    assert decode(value) == decode_header_value(value)


# --- header and body -----------------------------------------------------------------------------------


def problem(
    routing: Routing, *, method: str = "tools/call", name: str | None = "echo", era: Era = Era.STATELESS
) -> str:
    found = disagreement(routing, TABLE[method], era=era, name=name)
    return "" if found is None else found.message


@pytest.mark.parametrize("era", Era)
def test_headers_that_agree_pass(era: Era):
    assert problem(Routing(method="tools/call", name="echo"), era=era) == ""


@pytest.mark.parametrize("era", Era)
@pytest.mark.parametrize(
    "routing", [Routing(method="tools/list", name="echo"), Routing(method="Tools/Call", name="echo")]
)
def test_another_method_is_refused_in_both_eras(routing: Routing, era: Era):
    assert "Mcp-Method does not match" in problem(routing, era=era)


@pytest.mark.parametrize("era", Era)
@pytest.mark.parametrize("name", ["Echo", "echo ", "", "delete"])
def test_another_name_is_refused_in_both_eras(name: str, era: Era):
    assert "Mcp-Name does not match" in problem(Routing(method="tools/call", name=name), era=era)


@pytest.mark.parametrize("era", Era)
def test_an_orphan_name_is_refused_in_both_eras(era: Era):
    assert "names nothing" in problem(
        Routing(method="tools/list", name="echo"), method="tools/list", name=None, era=era
    )


def test_a_stateless_request_must_have_the_headers():
    assert "Mcp-Method is missing" in problem(Routing(name="echo"))
    assert "Mcp-Name is missing" in problem(Routing(method="tools/call"))


def test_a_handshake_request_need_not():
    assert problem(Routing(), era=Era.HANDSHAKE) == ""


def test_a_stateless_notification_need_not():
    """Header requirements for notifications "are not defined by this revision"."""
    assert problem(Routing(), method="notifications/cancelled", name=None) == ""


def test_a_task_request_may_leave_its_name_to_the_body_but_not_contradict_it():
    assert problem(Routing(method="tasks/get"), method="tasks/get", name="t1") == ""
    assert "does not match" in problem(Routing(method="tasks/get", name="t2"), method="tasks/get", name="t1")


# --- what travels on -----------------------------------------------------------------------------------

KEPT = (
    (b"accept", b"application/json, text/event-stream"), (b"content-type", b"application/json"), (b"mcp-method", b"tools/call"),
    (b"mcp-name", b"echo"), (b"mcp-protocol-version", b"2026-07-28"), (b"mcp-param-region", b"eu"), (b"mcp-param-a_b", b"1"),
    (b"last-event-id", b"7"),
)  # fmt: skip
OWN = ((b"user-agent", b"opagate"), (b"accept-encoding", b"identity"))


def forwarded(*headers: tuple[bytes, bytes], is_post: bool = True) -> Headers:
    """Return the headers of the caller that pass in a call with a session, without the gateway's own."""
    sent = forwardable_request(group_headers(headers), is_post=is_post, has_session=True, repeats_arguments=True)
    assert sent[-2:] == OWN
    return sent[:-2]


def test_the_headers_of_mcp_travel_on():
    assert forwarded(*KEPT) == KEPT


@pytest.mark.parametrize(
    "name",
    [
        "x-vendor", "x-foo", "user-agent", "accept-language", "accept-charset", "x-api-key", "cache-control", "if-match",
        "x-request-id", "priority", "x-amzn-trace-id", "b3", "traceparent", "tracestate", "baggage", "mcp-other", "prefer",
        "authorization", "dpop", "cookie", "proxy-authorization", "host", "content-length", "forwarded", "x-forwarded-for",
        "x-real-ip", "origin", "mcp-session-id", "connection", "te", "trailer", "transfer-encoding", "upgrade", "keep-alive",
        "expect", "client-cert", "x-http-method-override", "sec-fetch-site", "mcp_name", "mcp_method", "mcp-session_id",
        "mcp_protocol_version", "opagate-task", "opagate_task", "content_type", "content-encoding", "mcp_param_region",
        "mcp-param_region", "last_event_id", "x-original-url", "remote-user", "x-remote-user", "x-auth-request-email",
        "cf-access-jwt-assertion", "tailscale-user-login", "x-ms-client-principal-name",
    ],
)  # fmt: skip
def test_no_other_header_travels_on(name: str):
    assert forwarded(*KEPT, (name.encode(), b"x")) == KEPT


@pytest.mark.parametrize(
    "declared", ["application/json; charset=utf-7", "application/json;charset=gbk", "text/plain", ""]
)
def test_a_body_travels_on_as_what_it_was_read_as(declared: str):
    """Some servers decode as the type says, and `+ACI-` is a quotation mark in UTF-7."""
    assert forwarded((b"content-type", declared.encode())) == ((b"content-type", b"application/json"),)


def test_answers_are_asked_for_uncompressed():
    assert forwarded((b"accept-encoding", b"gzip"), (b"accept-encoding", b"br"), is_post=False) == ()


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ((b"application/json",), b"application/json"),
        ((b"text/event-stream;q=0.5, Application/JSON ; x=ghp_secret",), b"application/json, text/event-stream"),
        ((b"text/event-stream", b"*/*"), b"text/event-stream, */*"),
        ((b"application/json, ghp/secret",), b"application/json"),
    ],
)
def test_the_types_that_a_client_accepts_travel_on_without_words_beside_them(said: tuple[bytes, ...], sent: bytes):
    assert forwarded(*((b"accept", value) for value in said), is_post=False) == ((b"accept", sent),)


def test_an_accept_header_of_other_words_does_not_travel_on():
    assert forwarded((b"accept", b"ghp/secret"), is_post=False) == ()


@pytest.mark.parametrize(
    "header",
    [
        (b"mcp-protocol-version", b"ghp_secret"), (b"mcp-method", b"ghp_secret"), (b"mcp-name", b"ghp_secret"),
        (b"content-type", b"application/json"), (b"last-event-id", b"x" * 257), (b"last-event-id", b"caf\xe9"),
    ],
)  # fmt: skip
def test_a_header_without_a_body_to_compare_it_with_does_not_travel_on(header: tuple[bytes, bytes]):
    assert forwarded(header, is_post=False) == ()


def test_the_version_and_the_last_event_travel_on_without_a_body():
    headers = ((b"mcp-protocol-version", b"2025-11-25"), (b"last-event-id", b"7"))
    assert forwarded(*headers, is_post=False) == headers
    assert forwarded(*headers, *headers, is_post=False) == headers[:1]
    assert forwardable_request(group_headers(headers), is_post=False, has_session=False) == (headers[0], *OWN)


def test_only_a_call_repeats_arguments():
    sent = forwardable_request(group_headers(KEPT), is_post=True, has_session=False)
    assert not [name for name, _ in sent if name.startswith(b"mcp-param")]


# --- what the operator lets through ----------------------------------------------------------------------


def test_an_added_header_travels_under_its_one_spelling():
    headers = group_headers(((b"x-tenant", b" eu "), (b"x_tenant", b"us"), (b"x-other", b"1"), (b"x-unit", b"7")))
    assert added_headers(headers, frozenset({b"x-unit", b"x-tenant", b"x-none"})) == (
        (b"x-tenant", b"eu"),
        (b"x-unit", b"7"),
    )


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (((b"x-tenant", b"eu"), (b"x-tenant", b"eu")), "more than once"),
        (((b"x-tenant", b"e\xfcu"),), "characters"),
        (((b"x-tenant", b"a\x00"),), "characters"),
    ],
)
def test_an_added_header_with_two_readings_is_a_fault(headers: Headers, said: str):
    found = added_headers(group_headers(headers), frozenset({b"x-tenant"}))
    assert isinstance(found, HeaderFault)
    assert said in found.message


def test_an_added_header_that_connection_names_stays_here():
    headers = group_headers(((b"x-tenant", b"eu"), (b"connection", b"X-Tenant")))
    assert added_headers(headers, frozenset({b"x-tenant"})) == ()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *(
            (name, True)
            for name in ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-client-cert")
        ),
        *(
            (name, True)
            for name in (
                "forwarded",
                "via",
                "x-real-ip",
                "cf-connecting-ip",
                "true-client-ip",
                "x-client-ip",
                "x-forwarded",
                "x-cluster-client-ip",
                "fastly-client-ip",
                "fly-client-ip",
                "x-envoy-external-address",
            )
        ),
        *((name, False) for name in ("x-v", "x-request-id", "x-forward", "forwarding")),
    ],
)
def test_a_proxy_is_known_by_what_it_adds(name: str, *, said: bool):
    assert is_passed_on(group_headers(((b"host", b"here"), (name.encode(), b"1")))) is said


@pytest.mark.parametrize(
    ("declared", "sent"),
    [
        ("text/event-stream; charset=utf-7", "text/event-stream"),
        ("Application/JSON;charset=utf-16", "application/json"),
        ("text/plain; charset=latin-1", "text/plain; charset=latin-1"),
        ("text/event-streams", "text/event-stream"),
        ("text/plain, text/event-stream", "text/event-stream"),
        ("application/json, text/event-stream", "text/event-stream"),
        ("application/json-rpc", "application/json"),
        ("text/plain; profile=application/json", "application/json"),
        ("application/problem+json", "application/problem+json"),
    ],
)
def test_messages_travel_back_as_what_they_were_read_as(declared: str, sent: str):
    """A client that decodes a stream as its type says finds other lines in it: `+AAo-` is a line break in UTF-7."""
    headers = ((b"content-type", declared.encode()),)
    head = read_response_head(headers)
    assert head.forwardable == ((b"content-type", sent.encode()),)
    assert head.is_events is read_response_head(head.forwardable).is_events is (sent == "text/event-stream")


def test_headers_named_by_connection_do_not_travel_on():
    hop = (
        (b"connection", b"close, X-Hop, Last-Event-Id"),
        (b"x-hop", b"1"),
        (b"x-end", b"2"),
        (b"last-event-id", b"7"),
    )
    assert forwarded(*hop, is_post=False) == ()
    assert names(read_response_head(hop[:3]).forwardable) == {b"x-end"}


@pytest.mark.parametrize(
    "name",
    [
        "set-cookie", "www-authenticate", "proxy-authenticate", "server", "date", "content-length", "mcp-session-id",
        "access-control-allow-origin", "transfer-encoding", "connection", "alt-svc", "strict-transport-security",
        "x-accel-redirect", "x-sendfile", "x-lighttpd-send-file", "x-lighttpd-send-tempfile", "x-reproxy-url", "set-cookie2",
        "authentication-info", "via", "clear-site-data", "nel", "report-to", "reporting-endpoints", "keep-alive", "trailer",
    ],
)  # fmt: skip
def test_what_an_upstream_says_of_itself_does_not_travel_back(name: str):
    kept = ((b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no"), (b"x-vendor", b"1"))
    assert read_response_head((*kept, (name.encode(), b"x"))).forwardable == kept


def test_the_first_type_and_the_first_session_of_an_answer_count():
    twice = (
        (b"content-type", b"text/plain"), (b"mcp-session-id", b"a"),
        (b"content-type", b"application/json"), (b"mcp-session-id", b"b"),
    )  # fmt: skip
    head = read_response_head(twice)

    assert (head.type, head.session) == (None, "a")
    assert not read_response_head(
        ((b"content-type", b"application/json"), (b"content-type", b"text/event-stream"))
    ).is_events
    assert not read_response_head(((b"content-type", b"text/event-stream"), (b"connection", b"Content-Type"))).is_events
    assert read_response_head(()) == ResponseHead(None, None, ())


@given(
    st.dictionaries(st.sampled_from([b"accept", b"host", b"mcp-param-x", b"mcp_name", b"x"]), st.tuples(st.binary()))
)
def test_headers_that_no_router_reads_are_no_routing(fields: dict[bytes, tuple[bytes, ...]]):
    assert read_routing(fields) == Routing()


def test_values_of_one_name_stay_in_their_order_however_many_they_are():
    many = tuple((b"a", b"%d" % number) for number in range(10_000))
    assert group_headers(((b"b", b"x"), *many, (b"b", b"y"))) == {
        b"a": tuple(value for _, value in many),
        b"b": (b"x", b"y"),
    }


def test_a_request_with_usual_names_alone_was_not_passed_on():
    assert {b"host", b"authorization", b"content-type", b"user-agent"} < USUAL_NAMES
    assert not is_passed_on(dict.fromkeys(USUAL_NAMES, (b"1",)))
    assert not any(is_passed_on({name: (b"1",)}) for name in USUAL_NAMES)
