"""The files of `opagate init`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from textwrap import indent
from typing import Any, Final

import yaml

_HEAD: Final = """\
# The configuration of an opagate gateway. docs/reference/configuration.md describes every setting.
# Check it with `opagate check`. Sizes are written like 4MiB, durations like 250ms, 5s, 10m. ${NAME} is replaced from the
# environment. Editors complete settings by the schema of `opagate init schema config`. Secrets are written as ${NAME} or file:PATH, never as themselves. Paths are relative to this file.

# Where it listens. Development and anonymous identities are for loopback only.
listen: 127.0.0.1:8080

# How callers reach it, if that is another address: the audience of tokens, and what clients are told (RFC 9728).
# public_url: https://gateway.example

# Certificate for serving HTTPS; client_ca asks callers for certificates.
# tls: {certificate: tls/certificate.pem, key: tls/key.pem}

# Who may call: any one of these identifies a caller. For real use, an OpenID Connect provider or SPIFFE:
identity:
  - kind: development      # tokens of `opagate credentials token`, from this machine only
  # - kind: jwt            # any issuer with a JWKS
  #   issuer: https://idp.example
  # - kind: spiffe         # workloads; x509: true for mutual TLS
  #   trust_domain: corp.example
  #   bundle: file:/run/spiffe/bundle.json

# What decides. Rego, in the gateway itself or in an Open Policy Agent of your own.
policy:
  engine: embedded         # or {kind: opa, url: "unix:///run/opa.sock"}
  grants: grants.yaml      # who may call what
  # path: rego/            # your own policy folder, in place of the one that ships
  # stale_after: 1h        # refuse every call once a newer policy could not be had for so long; by default never

# Observe mode: calls that policy would refuse or ask about pass, and the record says so: docs/policy/observing.md.
# enforce: false
# observe_until: 2027-01-31T00:00:00Z

# Where the gateway keeps its own keys. Back it up; let nobody else read it.
state: state

# The record of every decision.
journal:
  path: state/journal
  fsync: interval          # always: on disk before a call goes on; interval: each second; never: by the system
  arguments: digest        # or full, or none
  results: digest          # or full, or none

# Tool definitions as they were when they were trusted. Commit the file; a changed definition is refused.
catalogue:
  lock: catalogue.lock
  trust: first_use         # locked: only what `opagate catalogue pin` has pinned can be used
  refresh: 5m

# How far one task may reach before a person is asked (soft) or the call is refused (hard): docs/policy/history.md.
# limits: {task: {audiences: {soft: 10, hard: 100}}}

# People who approve what the policy asks about: docs/approvals.md. Without this section such calls are refused.
# As it stands, the account that runs the gateway answers, in the console or by `opagate approvals`. For others:
# approvals: {peers: [{uid: 1000, id: ada@corp.example}]}
approvals: {}

# Behind a slow balancer raise drain_delay: docs/operations/upgrade.md says how far.
# limits: {request_bytes: 4MiB, connect: 5s, first_byte: 60s, in_flight: 1000, streams: 1000, drain_delay: 10s, drain: 30s}

# The gateway makes its keys below state, unless a file is named here.
# keys: {sessions: /run/keys/sessions, fingerprints: /run/keys/fingerprints, tokens: /run/keys/tokens.pem}

# How a refused call is answered: result (a tool result that the model can read) or protocol (a JSON-RPC error).
# errors: result

# Pages for the people who answer for the gateway, by a link of `opagate console`: docs/console.md.
# A gateway that other machines reach needs a login here.
console: {}

# telemetry: {log: console, level: info, otlp: "http://127.0.0.1:4318/v1/traces"}

# A file with labels of tools, as `opagate catalogue label --write` writes it: docs/policy/labels.md.
# labels: labels.yaml

# The client's file that has the secrets of imported servers: each ${NAME} of such a server is read there first.
# client_file: /home/ada/.cursor/mcp.json

# The MCP servers behind it, each at /mcp/NAME.
#   url or command   streamable HTTP, or a program that is run (stdio), without a shell
#   audience         the system that is reached
#   aliases          what people call it in goals: [helpdesk, ticket system]
#   trust            trusted: what comes from it was written by your own people
#   credential       a header for an HTTP upstream: {kind: header, name: authorization, value: "${NAME}"}
#   env, variables   the environment of a program: {NAME: "${NAME}"} for secrets, {NAME: value} for the rest
#   files, network   what the sandbox of a program opens: {read: [FOLDER], write: [FOLDER]}, and true or a list of ports
#   tools            what its tools do, by name pattern. A tool without labels counts as a write that leaves:
#     effect         read, write, destructive, mint (makes credentials) or exec
#     egress         whether data leaves to somewhere else
#     sensitivity    public, internal, confidential or restricted
#     roles          argument (JSON pointer) to destination, command, credential, content, selector, amount or record
#     sandbox        true: it runs code inside a sandbox of the task, from which nothing leaves
#     cases          milder labels for some arguments: [{when: {/sql: {statement: select}}, effect: read}]
"""

_EXAMPLE: Final = """\
upstreams:
  files:                   # an example that works: the demo server that comes with opagate. Put your own in its place.
    command: [{python}, -m, gateway.surfaces.demo.files, --stdio]
    audience: files
    trust: trusted
    environment: development
    tools:
      "*_file": {{sensitivity: internal, roles: {{/path: selector}}}}
      list_files: {{effect: read, egress: false, roles: {{/folder: selector}}}}
      read_file: {{effect: read, egress: false}}
      write_file: {{effect: write, egress: false, roles: {{/content: content}}}}
      delete_file: {{effect: destructive, egress: false}}
"""

_GRANTS_HEAD: Final = """\
# Who may call what. A call needs one grant that holds in full; what no grant allows does not pass.
# `opagate check` says which grant cannot be read, `opagate journal explain ID` why a call was refused.
#
#   agents, issuers      who: ids, with at most one * each. urn:opagate:development is the issuer of `opagate credentials token`
#   users, groups        on whose behalf;  scopes: what the token must hold
#   tools                which tools of the upstream (also resources, prompts)
#   effects              which labelled effects, if not only read; sensitivity: up to which
#   arguments            the only arguments that may be there
#   when                 conditions by argument: {/path: {under: reports}}, {/to: {matches: '.+@corp\\.example', max_items: 5}}
#   approval: true       each call needs a person's approval; {count: 2, group: sre}: the approval of two persons in the group
"""

_GRANTS_EXAMPLE: Final = """\
upstreams:
  files:
    - id: everyone-reads-files
      description: Every agent with a development token looks at all files.
      agents: ["*"]
      issuers: ["urn:opagate:development"]
      tools: [list_files, read_file]

    - id: everyone-writes-reports
      description: It writes into the folder for reports only.
      agents: ["*"]
      issuers: ["urn:opagate:development"]
      tools: [write_file]
      effects: [write]
      when:
        /path: {under: reports}
"""

_GRANT_FOR_IMPORTED: Final = """\
  {name}:
    - id: {name}-reads
      description: Whoever has a development token may read.
      agents: ["*"]
      issuers: ["urn:opagate:development"]
      tools: ["*"]           # of these, the tools that are labelled `effect: read`
      resources: ["*"]
      prompts: ["*"]
      sensitivity: confidential
    - id: {name}-asks
      description: A person is asked about everything else. Replace it with grants for what your agents need.
      agents: ["*"]
      issuers: ["urn:opagate:development"]
      tools: ["*"]
      effects: [read, write, destructive, mint, exec]
      sensitivity: restricted
      approval: true
"""


@dataclass(frozen=True, slots=True)
class FirstStart:
    """The settings of a first start: its port, the client's file with the secrets, and the end of observe mode."""

    port: int
    client_file: Path
    observe_until: date

    def fill_in(self, head: str) -> str:
        """Return the head of a configuration with these settings in force."""
        named = yaml.safe_dump({"client_file": str(self.client_file.expanduser().absolute())}, width=10_000)
        settings = {
            "listen: 127.0.0.1:8080\n": f"listen: 127.0.0.1:{self.port}\n",
            "# client_file: /home/ada/.cursor/mcp.json\n": named,
            "# labels: labels.yaml\n": "labels: labels.yaml\n",
            "# enforce: false\n": "enforce: false\n",
            "# observe_until: 2027-01-31T00:00:00Z\n": f"observe_until: {self.observe_until}T00:00:00Z\n",
        }
        for before, after in settings.items():
            head = head.replace(before, after)
        return head


def configuration(upstreams: Mapping[str, Mapping[str, Any]] | None, first: FirstStart | None = None) -> str:
    """Return gateway.yaml: with these upstreams, or with a working example."""
    head = _HEAD if first is None else first.fill_in(_HEAD)
    if upstreams is None:
        return head + _EXAMPLE.format(python=yaml.safe_dump(sys.executable, width=10_000).splitlines()[0])
    if not upstreams:
        return f"{head}upstreams: {{}}\n"
    return f"{head}upstreams:\n{''.join(upstreams_of(upstreams).values())}"


def upstreams_of(upstreams: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return each upstream in its form below `upstreams` of gateway.yaml."""
    return {
        name: indent(yaml.safe_dump({name: dict(item)}, sort_keys=False, width=110), "  ")
        for name, item in upstreams.items()
    }


def grants(upstreams: Mapping[str, object] | None) -> str:
    """Return grants.yaml: for the example, or for these upstreams."""
    if upstreams is None:
        return _GRANTS_HEAD + _GRANTS_EXAMPLE
    if not upstreams:
        return f"{_GRANTS_HEAD}upstreams: {{}}\n"
    return f"{_GRANTS_HEAD}upstreams:\n{''.join(grants_of(upstreams).values())}"


def grants_of(upstreams: Iterable[str]) -> dict[str, str]:
    """Return the grants of each imported upstream, as below `upstreams` of grants.yaml: reads pass, and people decide the rest."""
    return {name: _GRANT_FOR_IMPORTED.format(name=name) for name in upstreams}
