"""What opagate has to do, where that is said, and the mark that a test carries which shows it.

`tests/test_requirements.py` holds that each requirement has a test, and that each mark names a requirement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import pytest


@dataclass(frozen=True, slots=True)
class Requirement:
    """`source`: a section of a specification, an RFC, or a document of this project. `behaviour`: what can be seen."""

    source: str
    behaviour: str


_MCP = "https://modelcontextprotocol.io/specification"
_NEW = f"{_MCP}/2026-07-28"
_OLD = f"{_MCP}/2025-11-25/basic/transports"
_HTTP = f"{_NEW}/basic/transports/streamable-http"
_BYTES = "docs/design/0002-bytes-and-clients.md"
_FAULTS = "SECURITY.md, and the exceptions of gateway/model/errors.py"

REQUIREMENTS: Final[Mapping[str, Requirement]] = MappingProxyType(
    {
        # --- the protocol -------------------------------------------------------------------------
        "mcp/bytes": Requirement(_BYTES, "What is allowed arrives as the bytes that were sent, but for handles."),
        "mcp/result-bytes": Requirement(_BYTES, "A result comes back as the bytes that the server sent, if nothing in it is concealed."),
        "mcp/eras": Requirement(f"{_NEW}/basic/versioning", "Clients of both wires are served, untranslated."),
        "mcp/host-origin": Requirement(f"{_HTTP}, Security & Endpoint", "A foreign Host or Origin gets 403."),
        "mcp/headers-agree": Requirement(f"{_HTTP}#server-validation", "The body decides; headers that differ are refused."),
        "mcp/one-message": Requirement(f"{_HTTP}#sending-messages", "One message a body, readable in one way."),
        "mcp/progress": Requirement(f"{_NEW}/basic/patterns/progress", "Progress arrives with the client's own token."),
        "mcp/logging": Requirement(f"{_NEW}/server/utilities/logging", "Log messages come on their call's stream."),
        "mcp/cancel-disconnect": Requirement(f"{_NEW}/basic/patterns/cancellation", "A client that leaves cancels its call."),
        "mcp/cancel-notification": Requirement(f"{_MCP}/2025-11-25/basic/utilities/cancellation", "The notification is forwarded."),
        "mcp/resumable": Requirement(f"{_OLD}#resumability-and-redelivery", "GET, event ids, retry and Last-Event-ID pass."),
        "mcp/session": Requirement(f"{_OLD}#session-management", "A session is its caller's; to others it is 404."),
        "mcp/no-session": Requirement(f"{_HTTP}#backward-compatibility", "The stateless era ignores session headers."),
        "mcp/pagination": Requirement(f"{_NEW}/server/utilities/pagination", "Cursors are kept, also of emptied pages."),
        "mcp/caching": Requirement(f"{_NEW}/server/utilities/caching", "A filtered list is private."),
        "mcp/list-filter": Requirement("docs/policy/shipped-policy.md#2-the-line", "Lists show what policy shows, replayed ones too."),
        "mcp/subscriptions": Requirement(f"{_NEW}/basic/patterns/subscriptions", "News arrives; the acknowledgement is first."),
        "mcp/keep-alive": Requirement(f"{_HTTP}#receiving-messages", "An idle stream gets comments between its events."),
        "mcp/server-requests": Requirement(f"{_NEW}/client/elicitation, sampling and roots", "Sampling, elicitation and roots work on both wires."),
        "mcp/input-required": Requirement(f"{_NEW}/basic/patterns/mrtr", "Each retry is decided anew; its state is its caller's."),
        "mcp/tasks": Requirement("https://github.com/modelcontextprotocol/ext-tasks", "A task is its caller's in every method."),
        "mcp/resources-prompts": Requirement(f"{_NEW}/server", "Resources, prompts and completions pass, decided as calls are."),
        "mcp/completions": Requirement(f"{_NEW}/server/utilities/completion", "A completion is decided as the prompt or resource that it is for."),
        "mcp/large": Requirement(_BYTES, "A large result streams; the gateway's memory does not grow with it."),
        "mcp/request-limit": Requirement("docs/operations/limits-and-capacity.md#strangers", "A request beyond the limit gets 413."),
        "mcp/wrong-id": Requirement("https://www.jsonrpc.org/specification#response_object", "An answer to another request is dropped."),
        "mcp/tool-errors": Requirement(f"{_NEW}/server/tools#error-handling", "A refused tool call is a result that the model can read."),
        # --- OAuth --------------------------------------------------------------------------------
        "rfc9728/challenge": Requirement("RFC 9728, section 5.1", "401 names the metadata of the very resource."),
        "rfc9728/metadata": Requirement("RFC 9728, section 3", "The metadata names the resource and its issuers."),
        "identity/kubernetes": Requirement("docs/sign-in.md#service-accounts-of-kubernetes", "Tokens of service accounts are verified with the keys of their API server."),
        "identity/sign-in": Requirement("docs/sign-in.md", "A client that knows only the URL signs its person in, also at a server without registration and `resource`."),
        "mcp/oauth-clients": Requirement(f"{_NEW}/basic/authorization", "A client that is given a URL alone finds its way to a token that serves."),
        "rfc6750/scope": Requirement("RFC 6750, section 3.1", "403 insufficient_scope names all missing scopes at once."),
        "rfc8707/audience": Requirement("RFC 8707, section 2", "A token for another audience is refused."),
        "rfc9449/proof": Requirement("RFC 9449, section 4.3", "A bound token needs a proof, fresh, and for this request."),
        "rfc8693/delegation": Requirement("RFC 8693, section 4.1", "The actor is the agent; a chain with strangers is refused."),
        "mcp/no-passthrough": Requirement(f"{_NEW}/basic/authorization/security-considerations", "No token of the agent goes upstream."),
        "mcp/no-foreign-challenge": Requirement(f"{_NEW}/basic/authorization", "An upstream's challenge is not relayed."),
        "spiffe/x509": Requirement("SPIFFE X509-SVID, section 5", "A workload is known by its verified client certificate."),
        # --- invariants ---------------------------------------------------------------------------
        "invariant/1": Requirement("SECURITY.md", "No call without an allow of the current policy for those bytes."),
        "invariant/2": Requirement("SECURITY.md", "Policy and upstream read the same call."),
        "invariant/3": Requirement("SECURITY.md", "The agent's token never leaves the gateway."),
        "invariant/4": Requirement("SECURITY.md", "What anybody says about itself never widens."),
        "invariant/5": Requirement("SECURITY.md", "What belongs to one principal is nothing to another."),
        "invariant/6": Requirement("SECURITY.md", "An absent fact is never an innocent one."),
        "invariant/7": Requirement("SECURITY.md", "Refusals are recorded; intents are recorded first."),
        "invariant/8": Requirement("SECURITY.md", "A secret is never stored, logged, traced or shown."),
        "invariant/9": Requirement("SECURITY.md", "Limits hold under concurrency and across restarts."),
        "invariant/10": Requirement("SECURITY.md", "When what decides is broken, slow or stale, the answer is no."),
        # --- history ------------------------------------------------------------------------------
        "replay/cost": Requirement("docs/replay.md#what-a-policy-costs", "Each setting that `policy cost` prints ends its question."),
    "directory/grounds": Requirement("docs/policy/directory.md", "Destinations of the operator's directory have a source."),
    "directory/parts": Requirement("docs/policy/directory.md", "The parts of one given name have a source together."),
    "directory/files": Requirement("docs/policy/directory.md", "CSV, LDIF and SCIM exports are read at the start."),
    "directory/trusted": Requirement("docs/policy/directory.md", "Confidential data may go to known places with an approval."),
    "history/fan-out": Requirement("docs/policy/history.md#limits", "A task reaches no further than its limits."),
        "history/credentials": Requirement("docs/policy/history.md#credentials", "A credential is not carried on, whole, encoded or in parts."),
        "history/plain-words": Requirement("docs/policy/history.md#plain-words", "A plain word that a system names as a credential is asked about; a credential never is."),
        "history/elsewhere": Requirement("docs/policy/history.md#beside-the-arguments", "No credential is carried on beside arguments either."),
        "history/read-elsewhere": Requirement("docs/policy/history.md#what-a-task-has-read", "What is read without a call counts as the result of one."),
        "history/toxic-flow": Requirement("docs/policy/history.md#toxic-flow", "Foreign words do not carry confidential ones out."),
        "history/returning": Requirement("docs/multi-agent.md#text-that-returns", "Foreign text keeps its labels wherever it was written."),
        "history/own-system": Requirement("docs/policy/history.md#back-to-its-own-system", "Confidential data goes back to its own system alone."),
        "history/named-systems": Requirement("docs/policy/history.md#systems-that-nobody-named", "Untrusted text chooses no system to write to."),
        "history/records": Requirement("docs/policy/history.md#records", "Money and people go by records that the goal points at."),
        "history/dictation": Requirement("docs/policy/history.md#nothing-but-the-goal", "A call that says nothing but what the goal says gives nothing away."),
        "history/budget": Requirement("docs/policy/history.md#limits", "A task uses up no more than its budget."),
        "history/implicit": Requirement("docs/concepts.md", "A caller's implicit task outlasts its tokens, sessions and certificates."),
        "history/room": Requirement("docs/operations/limits-and-capacity.md#room-for-tasks", "No caller, and no number of identities of one, takes the room of others."),
        "labels/arguments": Requirement("docs/policy/labels.md#labels-that-depend-on-arguments", "What nobody can read counts as the worst label."),
        "labels/sandbox": Requirement("docs/policy/labels.md#sandboxes", "A sandbox asks less, and what comes out of it gives no ground."),
        "history/contract": Requirement("docs/policy/history.md#the-contract", "A declared task does what it declared."),
        "history/restart": Requirement("SECURITY.md", "What a task has done holds after the gateway was killed."),
        "history/journal-edited": Requirement("docs/operations/journal.md#journal", "A journal that was edited or cut does not become history."),
        # --- replay -------------------------------------------------------------------------------
        "replay/as-live": Requirement("docs/replay.md", "A replayed step asks policy what the live call would."),
        "replay/export": Requirement("docs/replay.md#traces-from-a-journal", "What a gateway recorded in full replays to the same decisions."),
        "explain/causes": Requirement("docs/operations/decisions.md#why-was-it-refused", "A decision names the earlier calls that made its facts."),
        # --- the catalogue ------------------------------------------------------------------------
        "catalogue/prompts": Requirement("docs/design/0007-instructions-and-prompts.md", "A prompt that is not the pinned one is neither listed, got nor completed."),
        "catalogue/definitions": Requirement("docs/operations/pins.md", "No definition reaches anybody that nobody pinned, however it is listed."),
        "catalogue/pinned-anew": Requirement("docs/operations/pins.md", "What was pinned as it is now can be used, whether the gateway had noticed the change or not."),
        "catalogue/announced": Requirement("docs/operations/pins.md", "A change that a server tells a client of has the gateway list anew, and not without end."),
        "catalogue/instructions": Requirement("docs/design/0007-instructions-and-prompts.md", "Instructions that are not the pinned ones reach nobody."),
        # --- concealment --------------------------------------------------------------------------
        "conceal/results": Requirement("docs/policy/concealment.md#what-is-concealed", "What is to be concealed reaches the agent as a handle, in every form of answer."),
        "conceal/handles": Requirement("docs/policy/concealment.md#handles-in-calls", "A handle is put back where it came from, and nowhere else."),
        "inspection/suppressions": Requirement("docs/credentials.md#false-alarms", "A false alarm at one upstream is none until a date."),
        # --- faults -------------------------------------------------------------------------------
        "fault/opa-gone": Requirement(_FAULTS, "OPA killed: refused until it is back; not ready meanwhile."),
        "fault/opa-hung": Requirement(_FAULTS, "OPA stopped: refused as late."),
        "fault/opa-answer": Requirement(_FAULTS, "No result, rubbish, an error or another version is a refusal."),
        "fault/no-verdict": Requirement("docs/policy/history.md", "A failure of the policy engine, or an ask, is no denial of the task: live, replayed, after a crash."),
        "fault/late": Requirement(_FAULTS, "An engine after its deadline is a refusal."),
        "fault/version": Requirement(_FAULTS, "A result of an unknown version is a refusal."),
        "fault/obligation": Requirement(_FAULTS, "An obligation that is unknown or cannot be met is a refusal."),
        "fault/limit": Requirement(_FAULTS, "An answer beyond its limit is cut and recorded."),
        "fault/reload": Requirement(_FAULTS, "A policy that breaks leaves the last good one in force, and says so."),
        "fault/slow-policy": Requirement(
            _FAULTS, "A policy is tried in a process: calls go on, and the process ends with the gateway."
        ),
        "fault/stale": Requirement("docs/operations/policy.md#a-policy-that-gets-old", "With stale_after, a policy kept out for longer refuses all, and shows nothing."),
        "fault/stale-bundle": Requirement("docs/operations/policy.md#a-policy-that-gets-old", "The same of an OPA that cannot fetch its bundle, or cannot use it."),
        "fault/start": Requirement(_FAULTS, "Without a policy the gateway does not listen."),
        "fault/journal": Requirement(_FAULTS, "A full disk: refused, nothing forwarded, until there is room."),
        "fault/journal-taken": Requirement("docs/operations/journal.md#journal", "A journal that is taken away or changed: refused until it is back."),
        "fault/crash": Requirement(_FAULTS, "After SIGKILL the journal holds, and open calls are abandoned."),
        "fault/upstream": Requirement(_FAULTS, "An upstream that refuses, hangs, dies or lies is answered for."),
        "fault/client": Requirement(_FAULTS, "A client that vanishes is settled as cancelled."),
        "fault/unlisted": Requirement("docs/operations/limits-and-capacity.md#answers-of-upstreams", "A call of an upstream that is down or slow says so."),
        "fault/pinned-lists": Requirement("docs/operations/limits-and-capacity.md#answers-of-upstreams", "Lists of an upstream that starts or is down are those of the lock file, and open no tool."),
        "fault/stall": Requirement("docs/operations/limits-and-capacity.md#answers-of-upstreams", "An answer that stalls ends."),
        "fault/drain": Requirement(_FAULTS, "SIGTERM: calls in flight end, none is lost."),
        "fault/rolling-restart": Requirement("docs/operations/upgrade.md#stop-and-restart-behind-a-balancer", "Two gateways restarted in turn behind a balancer: no call fails."),
        # --- operations ---------------------------------------------------------------------------
        "operations/reload": Requirement("docs/operations/reload.md", "Labels, upstreams and limits count without a restart; what is untouched goes on."),
        "operations/observing": Requirement("docs/policy/observing.md", "Observed calls pass and are recorded as what they would have been; an enforced upstream beside them is enforced."),
        "operations/keys": Requirement("docs/operations/keys-and-backup.md#keys", "Keys are separate and can be given; one that is given or that a journal needs is never made anew."),
        "operations/rotation": Requirement("docs/operations/keys-and-backup.md#replace-a-key", "Each key is replaced while the gateway serves, and no call is refused."),
        "operations/state": Requirement("docs/operations/keys-and-backup.md#check-the-state", "A stored form of a later release, and unreadable content, are named with what is lost; a start without them is refused."),
        "operations/backup": Requirement("docs/operations/keys-and-backup.md#copy-and-restore", "A copy of a running gateway is whole; restored, it ends open leases and withdraws approvals."),
        "operations/mounted-keys": Requirement("docs/operations/keys-and-backup.md#keys", "Keys that the kubelet mounts and an fsGroup folder are accepted where nobody else can write."),
        "operations/probes": Requirement("docs/operations/install.md#start-stop-health", "/healthz, /readyz and /metrics answer at any address; under another name they reveal nothing."),
        "operations/opa-folder": Requirement("docs/operations/policy.md#a-change-and-its-trial", "A folder that OPA has taken is recorded with its revision; one that it has not is named in /readyz."),
        "operations/evaluate-here": Requirement("docs/operations/policy.md#evaluate-the-bundle-of-an-opa-here", "The gateway decides by the signed bundle that OPA keeps, and tells of a difference."),
        "operations/push": Requirement("docs/operations/policy.md#push-the-policy-to-an-opa", "At no moment of a push is a call decided by half a policy; a refused one leaves the policy before."),
        "operations/readiness": Requirement("docs/operations/install.md#start-stop-health", "/readyz names what is not ready."),
        "operations/metrics": Requirement("docs/operations/install.md#start-stop-health", "/metrics tells decisions and outcomes."),
        "operations/trace": Requirement("https://www.w3.org/TR/trace-context/", "Traces are joined, passed on and exported."),
        "operations/prune": Requirement("docs/design/0004-pruning-the-journal.md", "A pruned journal is whole from its floor on, and not without it."),
        "strangers/head": Requirement("docs/operations/limits-and-capacity.md#strangers", "A head that is late gets 408, one that is too large 431."),
        "strangers/waiting": Requirement("docs/operations/limits-and-capacity.md#strangers", "So many requests wait for the answer before them; more end the connection."),
        "strangers/one-reading": Requirement("https://www.rfc-editor.org/rfc/rfc9112#section-11.2", "A request that can be read in two ways gets 400."),
        "strangers/body": Requirement("docs/operations/limits-and-capacity.md#strangers", "A body that is late gets 408."),
        "strangers/connections": Requirement("docs/operations/limits-and-capacity.md#strangers", "One address holds so many connections open, and no more."),
        "strangers/told": Requirement("docs/operations/limits-and-capacity.md#strangers", "Of refused strangers so many a minute are told, the rest is counted."),
        "operations/streams": Requirement("docs/operations/limits-and-capacity.md#strangers", "Streams that wait for news have bounds of their own, and take no place of a call."),
        "operations/in-flight": Requirement("docs/operations/limits-and-capacity.md#strangers", "More requests at once than configured get 503."),
        "strangers/reserve": Requirement("docs/operations/limits-and-capacity.md#open-files", "Strangers give way before the open files of the gateway run out."),
        "tls/renewal": Requirement("docs/operations/tls.md", "Renewed TLS files come into force whole, and no connection ends."),
    }
)  # fmt: skip


def requirement(*names: str) -> pytest.MarkDecorator:
    """Marks a test as one that shows these requirements. Raises `KeyError` for a name that is none."""
    for name in names:
        REQUIREMENTS[name]
    return pytest.mark.requirement(*names)
