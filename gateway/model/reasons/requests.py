"""Reasons against requests: their form, and limits. Pure data."""

from __future__ import annotations

from typing import Final

from gateway.model import error_codes as _rpc
from gateway.model.reasons.text import RefusalText

# --- requests -------------------------------------------------------------------------------------

REQUEST_HOST: Final = RefusalText(
    "request/host",
    403,
    "The Host header does not name this gateway.",
    "Use its public address, or list the name under allowed_hosts.",
    _rpc.INVALID_REQUEST,
)
REQUEST_ORIGIN: Final = RefusalText(
    "request/origin",
    403,
    "A web page of another origin may not call this gateway.",
    "List its origin under allowed_origins.",
    _rpc.INVALID_REQUEST,
)
REQUEST_HTTP_METHOD: Final = RefusalText(
    "request/http-method", 405, "This method is not part of MCP.", "Use POST, GET or DELETE.", _rpc.INVALID_REQUEST
)
REQUEST_CONTENT_TYPE: Final = RefusalText(
    "request/content-type",
    415,
    "The body is not declared as JSON in UTF-8.",
    "Send application/json.",
    _rpc.INVALID_REQUEST,
)
REQUEST_COMPRESSED: Final = RefusalText(
    "request/compressed", 415, "Compressed requests are not read.", "Send the body as it is.", _rpc.INVALID_REQUEST
)
REQUEST_SLOW: Final = RefusalText(
    "request/slow", 408, "The request's body did not arrive in time.", "Send it without pausing.", _rpc.INVALID_REQUEST
)
REQUEST_TOO_LARGE: Final = RefusalText(
    "request/too-large",
    413,
    "The request is larger than {limit} bytes.",
    "Send less, or have the operator raise limits.request_bytes.",
    _rpc.INVALID_REQUEST,
)
REQUEST_ENCODING: Final = RefusalText(
    "request/encoding",
    400,
    "The body cannot be read: {problem}.",
    "Send whole characters, in UTF-8 without a byte order mark.",
    _rpc.PARSE_ERROR,
)
REQUEST_JSON: Final = RefusalText(
    "request/json", 400, "The body cannot be read: {problem}.", "Send one JSON object (RFC 8259).", _rpc.PARSE_ERROR
)
REQUEST_NUMBER: Final = RefusalText(
    "request/number",
    400,
    "The body cannot be read in one way only: {problem}.",
    "Send larger numbers as strings.",
    _rpc.PARSE_ERROR,
)
REQUEST_DUPLICATE_KEY: Final = RefusalText(
    "request/duplicate-key",
    400,
    "The body cannot be read in one way only: {problem}.",
    "Give each key of an object once.",
    _rpc.INVALID_REQUEST,
)
REQUEST_AMBIGUOUS_KEY: Final = RefusalText(
    "request/ambiguous-key",
    400,
    "The body cannot be read in one way only: {problem}.",
    "Write field names as MCP does.",
    _rpc.INVALID_REQUEST,
)
REQUEST_AMBIGUOUS_ARGUMENT: Final = RefusalText(
    "request/ambiguous-key",
    400,
    "The arguments cannot be read in one way only: names of them differ in writing alone.",
    "Write the names of arguments as the tool's definition does, and each once.",
    _rpc.INVALID_PARAMS,
)
ARGUMENT_SCHEMA: Final = RefusalText(
    "argument/schema",
    200,
    "The arguments do not fit the {kind}'s definition: {problem}.",
    "Send arguments that its definition describes.",
)
ARGUMENT_UNNAMED: Final = RefusalText(
    "argument/schema",
    200,
    "The {kind}'s definition does not have one of the arguments: {problem}.",
    "Leave it out. The operator can let such arguments pass: `upstreams.*.additional_arguments`.",
)
ARGUMENT_SCHEMA_UNUSABLE: Final = RefusalText(
    "argument/schema",
    200,
    "Nothing can be compared with the {kind}'s inputSchema: it {problem}.",
    "Have the server mended, or have the operator set `upstreams.*.additional_arguments` to `pass`.",
)
RESULT_SCHEMA: Final = RefusalText(
    "result/schema",
    200,
    "The tool's result does not fit its definition: {problem}.",
    "The call was carried out. Do not rely on its result, and have the server mended.",
)
RESOURCE_CHANGED: Final = RefusalText(
    "catalogue/contents",
    200,
    "This resource instructs the model, and its contents are not the pinned ones.",
    "An operator should look at `opagate catalogue diff`, and accept them with `opagate catalogue pin` only if every change is meant.",
    controls=("ASI04", "MCP03", "MCP04"),
)
REQUEST_DEPTH: Final = RefusalText(
    "request/depth", 400, "The body is too large: {problem}.", "Send a flatter document.", _rpc.INVALID_REQUEST
)
REQUEST_SIZE: Final = RefusalText(
    "request/size", 413, "The body is too large: {problem}.", "Split the request.", _rpc.INVALID_REQUEST
)
REQUEST_LENGTH: Final = RefusalText(
    "request/length",
    200,
    "The message has more than {limit} KiB of names, texts and numbers, which is too much to be searched.",
    "Send less in one message, or split the text over several calls.",
    _rpc.REFUSED,
)
REQUEST_BATCH: Final = RefusalText(
    "request/batch",
    400,
    "The body is not one message: {problem}.",
    "Send each message as a POST of its own.",
    _rpc.INVALID_REQUEST,
)
REQUEST_ENVELOPE: Final = RefusalText(
    "request/envelope",
    400,
    "This is not a JSON-RPC 2.0 message of MCP: {problem}.",
    "Correct the envelope.",
    _rpc.INVALID_REQUEST,
)
REQUEST_RESPONSE: Final = RefusalText(
    "request/response",
    400,
    "{problem}.",
    "Answer with a new request that carries inputResponses.",
    _rpc.INVALID_REQUEST,
)
REQUEST_PARAMS: Final = RefusalText(
    "request/params", 400, "The parameters are not valid: {problem}.", "Correct the parameters.", _rpc.INVALID_PARAMS
)
REQUEST_METHOD: Final = RefusalText(
    "request/method",
    404,
    "{problem}.",
    "Use a method that the protocol version lets clients send.",
    _rpc.METHOD_NOT_FOUND,
)
REQUEST_HEADER: Final = RefusalText(
    "request/header",
    400,
    "Header mismatch: {problem}.",
    "Send routing headers once, and equal to the body.",
    _rpc.HEADER_MISMATCH,
)
REQUEST_VERSION: Final = RefusalText(
    "request/version",
    400,
    "Unsupported protocol version: {problem}.",
    "Use a version of data.supported.",
    _rpc.UNSUPPORTED_VERSION,
)
REQUEST_OWN_TOKEN: Final = RefusalText(
    "request/own-token",
    400,
    "The message carries a token of its caller, or would complete half of one.",
    "Keep your token in the Authorization header; it is for this gateway alone.",
)
REQUEST_NOT_VISIBLE: Final = RefusalText(
    "request/not-visible",
    403,
    "The request names a resource that is not shown to this caller.",
    "Name one that the lists show, or ask for a grant of it.",
)
UPSTREAM_UNKNOWN: Final = RefusalText(
    "upstream/unknown", 404, "There is no such upstream here.", "Ask the operator for its name."
)
UPSTREAM_UNKNOWN_NEAR: Final = RefusalText(
    "upstream/unknown",
    404,
    "There is no such upstream here.",
    "The nearest name is {near!r}. Ask the operator for its name.",
)

# --- limits ---------------------------------------------------------------------------------------

LIMIT_IN_FLIGHT: Final = RefusalText(
    "limit/in-flight", 503, "The gateway serves as many requests as it may.", "Try again shortly.", _rpc.INVALID_REQUEST
)
LIMIT_IN_FLIGHT_PER_CALLER: Final = RefusalText(
    "limit/in-flight-per-caller",
    429,
    "This caller has as many requests in progress as one caller may have.",
    "Wait for some of them to end.",
)
LIMIT_STREAMS: Final = RefusalText(
    "limit/streams",
    503,
    "The gateway has as many open streams as it may have.",
    "Close streams that are not needed, or open one again later.",
)
LIMIT_STREAMS_PER_CALLER: Final = RefusalText(
    "limit/streams-per-caller",
    429,
    "This caller has as many open streams as one caller may have.",
    "Close streams that are not needed.",
)


# --- stops ----------------------------------------------------------------------------------------

STOP_IN_FORCE: Final = RefusalText(
    "stop/in-force",
    403,
    "An operator has stopped {what} ({id}).",
    "Wait until an operator resumes it, or ask the operators, with this id.",
    _rpc.REFUSED,
    ("ASI08", "ASI10"),
)
STOP_INVALID: Final = RefusalText(
    "stop/invalid",
    400,
    "A stop is for one agent, user, task or upstream, or for all; an issuer goes with an agent or a user.",
    "Name one of them.",
)
STOP_REASON: Final = RefusalText(
    "stop/reason",
    400,
    "A stop, and its end, need a reason of at most {longest} characters.",
    "Write one, for the journal.",
)
STOP_TIME: Final = RefusalText(
    "stop/time", 400, "The end of the stop is no time.", "Write it like 2026-12-01T18:00:00Z."
)
STOP_PAST: Final = RefusalText(
    "stop/past", 400, "The end of the stop is over already.", "Name a later time, or none, and end the stop by hand."
)
STOP_TARGET: Final = RefusalText(
    "stop/target", 404, "This gateway has no {scope} of this name, so the stop would stop nothing.", "Correct the name."
)
STOP_TOO_MANY: Final = RefusalText(
    "stop/too-many", 409, "{most} stops are in force.", "Resume some: `opagate stop --list`."
)
STOP_UNKNOWN: Final = RefusalText("stop/unknown", 404, "No such stop is in force.", "Look at `opagate stop --list`.")
