# METADATA
# scope: package
# title: A call and a list for the tests of all packages
package gateway.testing.example_test

call := {
	"version": 1,
	"subject": {
		"type": "agent",
		"id": "spiffe://corp/agent/triage",
		"properties": {
			"issuer": "https://idp.example",
			"auth_method": "jwt",
			"bound": true,
			"scopes": ["files.read", "mail.send"],
			"user": {"id": "alice", "groups": ["staff", "sre"]},
			"delegation": [],
			"delegation_depth": 0,
		},
	},
	"action": {"name": "tools/call"},
	"resource": tool,
	"arguments": {"path": "notes/today.txt"},
	"context": {
		"time": "2026-11-24T10:00:00Z",
		"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
		"client": {"ip": "127.0.0.1", "name": "example"},
		"task": {
			"id": "task-1",
			"kind": "declared",
			"opened": "2026-11-24T09:00:00Z",
			"expires": "2026-11-24T11:00:00Z",
			"goal": "read the notes",
		},
		"approval": null,
		"supported_obligations": ["label", "limit"],
	},
	"session": {
		"calls": 1,
		"in_flight": 1,
		"audiences": ["files"],
		"write_audiences": [],
		"tenants": ["acme"],
		"environments": ["production"],
		"denials": 0,
		"audiences_in_window": ["files"],
		"destinations": 0,
		"call_destinations": [],
		"depth": 0,
		"spread": 0,
		"credentials": [],
		"labels": {"untrusted": false, "confidentiality": "public"},
		"ungrounded": [],
		"followed": [],
		"approvals_used": 0,
	},
}

tool := {
	"type": "tool",
	"id": "files/read_file",
	"properties": {
		"upstream": "files",
		"audience": "files",
		"tool": "read_file",
		"tenant": "acme",
		"environment": "production",
		"effect": "read",
		"egress": false,
		"sensitivity": "internal",
		"trust": "untrusted",
		"roles": {"/path": "selector"},
		"pin": "match",
		"annotations": {},
	},
}

note := {
	"type": "resource",
	"id": "files/file:///notes/today.txt",
	"properties": object.remove(tool.properties, ["tool", "pin"]),
}

approval := {
	"id": "approval-1",
	"digest": "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",
	"approvers": [person],
	"granted": "2026-11-24T09:59:00Z",
	"scopes": ["once"],
	"answers": [],
}

person := {"id": "bob", "issuer": "https://idp.example", "groups": ["sre"], "assurance": "login"}

# The approval of these codes.
approving(codes) := object.union(approval, {"answers": codes})

grant := {
	"id": "triage-reads-files",
	"description": "An example.",
	"agents": ["spiffe://corp/agent/*"],
	"issuers": ["https://idp.example"],
	"tools": ["read_*"],
	"resources": ["file:///notes/*"],
}

# The call with values put at places.
changed(places) := json.patch(call, [operation |
	some path, value in places
	operation := {"op": "add", "path": path, "value": value}
])

without(path) := lacking(call, path)

# A document without a place. Only OPA takes a path that begins with a slash.
lacking(document, path) := json.remove(document, [trim_prefix(path, "/")])

# The grants of the files upstream, the example with some fields changed.
granted(fields) := {"files": [object.union(grant, fields)]}

codes(denials) := {denial.code | some denial in denials}

# What a family finds, each question marked.
found(denials, asks) := denials | {object.union(ask, {"asked": true}) | some ask in asks}
