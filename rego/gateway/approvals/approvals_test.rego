package gateway.approvals_test

import data.gateway.approvals
import data.gateway.testing.example_test as example

_required(call) := required if required := approvals.required with input as call

_codes(places, grant) := example.codes(found) if {
	found := _required(example.changed(places)) with data.gateway.grants.upstreams as example.granted(grant)
}

test_reading_needs_nobody if _codes({}, {}) == set()

test_a_grant_can_ask if {
	_codes({}, {"approval": true}) == {"approval/grant"}
	_codes({"/context/approval": example.approving(["approval/grant"])}, {"approval": true}) == set()
}

test_an_approval_answers_the_codes_it_names_and_no_other if {
	asked := {"approval/effect", "approval/grant", "credential-chain/mint"}
	mint := {"/resource/properties/effect": "mint"}
	grant := {"effects": ["mint"], "approval": true}
	_codes(mint, grant) == asked
	every code in asked {
		_codes(object.union(mint, {"/context/approval": example.approving([code])}), grant) == asked - {code}
	}
	_codes(object.union(mint, {"/context/approval": example.approving([code | some code in asked])}), grant) == set()
	_codes(object.union(mint, {"/context/approval": example.approving(["fan-out/audiences", "approval"])}), grant) == asked
}

test_an_approval_without_answers_answers_nothing if {
	_codes({"/context/approval": object.remove(example.approval, ["answers"])}, {"approval": true}) == {"approval/grant"}
	every answers in [null, "approval/grant", {"approval/grant": "approval/grant"}, [["approval/grant"]]] {
		approval := object.union(example.approval, {"answers": answers})
		_codes({"/context/approval": approval}, {"approval": true}) == {"approval/grant"}
	}
}

test_what_cannot_be_taken_back_asks if {
	every effect in ["destructive", "exec", "other"] {
		places := {"/resource/properties/effect": effect, "/resource/properties/roles": {"/path": "command"}}
		_codes(places, {"effects": [effect]}) == {"approval/effect"}
	}
	every effect in ["destructive", "exec"] {
		places := {
			"/resource/properties/effect": effect, "/resource/properties/roles": {"/path": "command"},
			"/context/approval": example.approving(["approval/effect"]),
		}
		_codes(places, {"effects": [effect]}) == set()
	}
}

test_nobody_approves_what_no_rule_is_for if {
	unknown := example.changed({
		"/resource/properties/effect": "other",
		"/context/approval": example.approving(["approval/effect"]),
	})
	required := _required(unknown) with data.gateway.grants.upstreams as example.granted({"effects": ["other"]})
	example.codes(required) == {"approval/effect"}
	refused := approvals.unanswerable with input as unknown
	refused == {{"code": "approval/no-approver", "facts": ["/resource/id"]}}
	known := approvals.unanswerable with input as example.call
	known == set()
}

# Each pair is a rule of the settings and the approvers of a call that a grant asks for.
_released := [
	[{}, [example.person]],
	[{"count": 2}, [example.person, object.union(example.person, {"id": "carol"})]],
	[{"group": "sre"}, [example.person]],
	[{"assurance": "login"}, [example.person]],
	[{"scopes": ["once"]}, [example.person]],
	[{"max_age_seconds": 300}, [object.union(example.person, {"login_age_seconds": 300})]],
	[{"max_age_seconds": 300}, [object.union(example.person, {"login_age_seconds": 0})]],
]

_kept := [
	[{"count": 2}, [example.person]],
	[{"count": 2}, [example.person, example.person]],
	[{"count": 2}, [example.person, object.union(example.person, {"id": "BOB"})]],
	[{"count": 2}, [example.person, object.union(example.person, {"id": " bob ", "issuer": "https://other.example"})]],
	[{"group": "security"}, [example.person]],
	[{"group": "SRE"}, [example.person]],
	[{"group": "sre"}, [example.person, object.union(example.person, {"id": "carol", "groups": []})]],
	[{"assurance": "mfa"}, [example.person]],
	[{"assurance": "login"}, [object.union(example.person, {"assurance": "peer"})]],
	[{}, [object.union(example.person, {"id": "Alice"})]],
	[{}, [example.person, object.union(example.person, {"id": "alice", "issuer": "urn:else"})]],
	[{}, [object.union(example.person, {"id": "spiffe://corp/agent/TRIAGE"})]],
	[{}, [object.union(example.person, {"assurance": "retina"})]],
	[{"max_age_seconds": 300}, [example.person]],
	[{"max_age_seconds": 300}, [object.union(example.person, {"login_age_seconds": 301})]],
	[{"max_age_seconds": 300}, [object.union(example.person, {"login_age_seconds": -1})]],
	[{"max_age_seconds": 300}, [object.union(example.person, {"login_age_seconds": "1"})]],
	[
		{"max_age_seconds": 300},
		[object.union(example.person, {"login_age_seconds": 1}), object.union(example.person, {"id": "carol"})],
	],
]

# The settings are replaced whole: OPA would put the fields of a part back.
_reading(rule) := object.union(data.gateway.settings, {"approvers": {"effects": {"read": rule}}})

_codes_by(rule, people) := codes if {
	approval := object.union(example.approving(["approval/grant"]), {"approvers": people})
	call := example.changed({"/context/approval": approval})
	settings := _reading(rule)
	found := _required(call) with data.gateway.settings as settings
		with data.gateway.grants.upstreams as example.granted({"approval": true})
	codes := example.codes(found)
}

test_people_who_satisfy_the_rule_of_now_release_a_call if {
	every pair in _released {
		[rule, people] := pair
		_codes_by(rule, people) == set()
	}
}

test_people_who_do_not_satisfy_the_rule_of_now_release_nothing if {
	every pair in _kept {
		[rule, people] := pair
		_codes_by(rule, people) == {"approval/grant"}
	}
}

test_a_longer_reach_than_the_rule_has_releases_nothing if {
	approval := object.union(example.approving(["approval/grant"]), {"scopes": ["once", "destination"]})
	call := example.changed({"/context/approval": approval})
	every scopes, codes in {"once": {"approval/grant"}, "destination": set(), "limit": {"approval/grant"}} {
		settings := _reading({"scopes": [scopes]})
		found := _required(call) with data.gateway.settings as settings
			with data.gateway.grants.upstreams as example.granted({"approval": true})
		example.codes(found) == codes
	}
}

test_a_rule_that_is_lost_releases_nothing if {
	approved := example.changed({"/context/approval": example.approving(["approval/grant"])})
	every lost in [null, {}, [], true, {"every": {}}] {
		settings := object.union(object.remove(data.gateway.settings, ["approvers"]), {"approvers": lost})
		found := _required(approved) with data.gateway.settings as settings
			with data.gateway.grants.upstreams as example.granted({"approval": true})
		example.codes(found) == {"approval/grant"}
	}
}

test_what_a_resource_is_labelled_asks_nobody if {
	resource := object.union(example.note, {"properties": {"effect": "destructive"}})
	_codes({"/resource": resource}, {}) == set()
}

test_a_credential_is_not_made_unasked if {
	_codes({"/resource/properties/effect": "mint"}, {"effects": ["mint"]}) == {"approval/effect", "credential-chain/mint"}
	answered := example.approving(["approval/effect", "credential-chain/mint"])
	_codes({"/resource/properties/effect": "mint", "/context/approval": answered}, {"effects": ["mint"]}) == set()
}

test_an_effect_that_was_agreed_with_the_task_asks_nobody if {
	every effect in ["destructive", "mint"] {
		contract := {"credential_flows": [], "limits": {}, "effects": {effect: ["files/read_file"]}}
		places := {
			"/resource/properties/effect": effect,
			"/context/task/contract": contract,
			"/session/unsourced": [],
		}
		"approval/effect" in _codes(places, {"effects": [effect]})
		agreed := {"/context/task/approved_by": [{"id": "bob", "issuer": "https://idp.example", "groups": [], "assurance": "login"}]}
		_codes(object.union(places, agreed), {"effects": [effect]}) == set()
	}
}

test_a_sandbox_asks_for_no_effect_but_mint if {
	every effect in ["read", "write", "destructive", "exec"] {
		_codes({"/resource/properties/sandbox": true, "/resource/properties/effect": effect}, {"effects": [effect]}) == set()
	}
	places := {"/resource/properties/sandbox": true, "/resource/properties/effect": "mint"}
	"approval/effect" in _codes(places, {"effects": ["mint"]})
	leaks := {
		"/resource/properties/sandbox": true,
		"/resource/properties/effect": "destructive",
		"/resource/properties/egress": true,
	}
	_codes(leaks, {"effects": ["destructive"]}) == {"approval/effect"}
}

test_what_history_asks_an_approval_answers if {
	every name, code in {"depth": "fan-out/depth", "calls": "budget/calls"} {
		places := {concat("/", ["/session", name]): 200001}
		_codes(places, {}) == {code}
		every scope in ["once", "destination", "limit"] {
			approval := object.union(example.approving([code]), {"scopes": [scope]})
			_codes(object.union(places, {"/context/approval": approval}), {}) == set()
		}
	}
	places := {"/session/ungrounded": ["/path"], "/session/labels": {"untrusted": true, "confidentiality": "public"}}
	sends := object.union(places, {"/resource/properties/egress": true})
	found := _required(example.changed(sends)) with data.gateway.grants.upstreams as example.granted({})
	found == {{"code": "toxic-flow/ungrounded", "facts": ["/arguments/path"]}}
}

test_a_lost_list_asks if {
	found := _required(example.call) with data.gateway.settings.effects_without_approval as null with data.gateway.grants.upstreams as example.granted({})
	example.codes(found) == {"approval/effect"}
}

_malformed := [
	{"id": ""}, {"id": null}, {"digest": ""}, {"digest": null}, {"granted": ""}, {"granted": 1},
	{"scopes": []}, {"scopes": "once"}, {"scopes": ["always"]}, {"scopes": ["once", "always"]}, {"scopes": {"once": "once"}},
	{"approvers": []}, {"approvers": "bob"}, {"approvers": ["bob"]}, {"approvers": {"a": example.person}},
]

_malformed_people := [
	{"id": ""}, {"id": null}, {"id": ["bob"]}, {"issuer": ""}, {"issuer": null}, {"groups": null}, {"groups": "sre"},
	{"groups": [""]}, {"groups": [1]}, {"groups": {"a": "sre"}}, {"assurance": "password"}, {"assurance": ["login"]}, {"assurance": ""}, {"assurance": null},
]

test_a_malformed_approval_is_none if {
	every fields in _malformed {
		approval := object.union(example.approving(["approval/grant"]), fields)
		_codes({"/context/approval": approval}, {"approval": true}) == {"approval/grant"}
	}
	every name, _ in example.approval {
		approval := object.remove(example.approving(["approval/grant"]), [name])
		_codes({"/context/approval": approval}, {"approval": true}) == {"approval/grant"}
	}
}

test_an_approval_by_a_malformed_person_is_none if {
	every fields in _malformed_people {
		people := [example.person, object.union(example.person, fields)]
		approval := object.union(example.approving(["approval/grant"]), {"approvers": people})
		_codes({"/context/approval": approval}, {"approval": true}) == {"approval/grant"}
	}
	every name, _ in example.person {
		approval := object.union(example.approving(["approval/grant"]), {"approvers": [object.remove(example.person, [name])]})
		_codes({"/context/approval": approval}, {"approval": true}) == {"approval/grant"}
	}
}

# A call with two values without a source, in a task of the kind weekly-report.
_report := {
	"/session/ungrounded": ["/path"],
	"/session/labels": {"untrusted": true, "confidentiality": "public"},
	"/resource/properties/egress": true,
	"/context/task/declared_kind": "weekly-report",
}

_endorsement := {
	"id": "endorsement-1",
	"digest": "hmac-sha256:1",
	"kind": "weekly-report",
	"approvers": [example.person],
	"granted": "2026-11-20T10:00:00Z",
	"age_seconds": 600,
	"scopes": ["recurring"],
	"facts": ["/arguments/path"],
}

_recurring := {"scopes": ["once", "destination", "recurring"], "recur_seconds": 3600}

_endorsed(endorsement, rule) := _endorsed_in(_report, endorsement, rule)

# The settings are replaced whole: OPA would put the fields of a part back.
_endorsed_in(places, endorsement, rule) := codes if {
	every_call := {"count": 1, "assurance": "chat", "expires_seconds": 900}
	others := object.remove(data.gateway.settings.approvers, ["every"])
	approving := object.union(others, {"every": object.union(every_call, rule)})
	settings := object.union(object.remove(data.gateway.settings, ["approvers"]), {"approvers": approving})
	call := example.changed(object.union(places, {"/context/endorsement": endorsement}))
	found := _required(call) with data.gateway.settings as settings
		with data.gateway.grants.upstreams as example.granted({})
	codes := example.codes(found)
}

_asks := {"toxic-flow/ungrounded"}

test_endorsed_values_ask_no_more if {
	_endorsed(_endorsement, _recurring) == set()
	_endorsed(null, _recurring) == _asks
}

test_values_recur_only_where_the_policy_says_so if {
	every rule in [
		{"scopes": ["once", "destination", "limit"]},
		{"scopes": ["once", "recurring"]},
		{"scopes": ["once", "destination", "limit"], "recur_seconds": 3600},
		{"scopes": ["recurring"], "recur_seconds": 600},
		{"scopes": ["recurring"], "recur_seconds": 599},
		{"scopes": ["recurring"], "recur_seconds": null},
	] {
		_endorsed(_endorsement, rule) == _asks
	}
}

test_an_endorsement_is_judged_by_the_rule_of_now if {
	_endorsed(_endorsement, object.union(_recurring, {"count": 2})) == _asks
	_endorsed(_endorsement, object.union(_recurring, {"group": "security"})) == _asks
	_endorsed(_endorsement, object.union(_recurring, {"assurance": "mfa"})) == _asks
	_endorsed(_endorsement, object.union(_recurring, {"group": "sre"})) == set()
	user := object.union(_endorsement, {"approvers": [object.union(example.person, {"id": "Alice"})]})
	_endorsed(user, object.union(_recurring, {"exclude": ["user"]})) == _asks
}

test_an_endorsement_is_for_one_kind_of_task if {
	every kind in ["monthly-report", "", null, "Weekly-Report"] {
		_endorsed_in(object.union(_report, {"/context/task/declared_kind": kind}), _endorsement, _recurring) == _asks
	}
	_endorsed_in(object.remove(_report, ["/context/task/declared_kind"]), _endorsement, _recurring) == _asks
	every kind in ["monthly-report", "", null] {
		_endorsed(object.union(_endorsement, {"kind": kind}), _recurring) == _asks
	}
}

test_an_endorsement_covers_the_shown_values_alone if {
	every facts in [[], ["/arguments/to"], ["/arguments"], "/arguments/path", {"/arguments/path": "/arguments/path"}, null] {
		_endorsed(object.union(_endorsement, {"facts": facts}), _recurring) == _asks
	}
	both := object.union(_report, {"/session/ungrounded": ["/path", "/to"]})
	labelled := object.union(both, {"/resource/properties/roles": {"/path": "destination", "/to": "destination"}})
	_endorsed_in(labelled, _endorsement, _recurring) == _asks
	_endorsed_in(labelled, object.union(_endorsement, {"facts": ["/arguments/path", "/arguments/to"]}), _recurring) == set()
}

test_an_endorsement_answers_no_other_question if {
	more := object.union(_report, {"/session/depth": 3, "/session/calls": 200001})
	_endorsed_in(more, _endorsement, _recurring) == {"fan-out/depth", "budget/calls"}
	exfiltrating := object.union(_report, {"/session/labels": {"untrusted": true, "confidentiality": "restricted"}})
	_endorsed_in(exfiltrating, _endorsement, _recurring) == {"toxic-flow/exfiltration"}
}

_broken := [
	{"id": ""}, {"digest": ""}, {"granted": ""}, {"approvers": []}, {"approvers": null}, {"scopes": ["once"]},
	{"scopes": ["once", "recurring"]}, {"scopes": []}, {"age_seconds": -1}, {"age_seconds": "600"}, {"age_seconds": null},
]

test_a_malformed_endorsement_answers_nothing if {
	every change in _broken {
		_endorsed(object.union(_endorsement, change), _recurring) == _asks
	}
	every field, _ in _endorsement {
		_endorsed(object.remove(_endorsement, [field]), _recurring) == _asks
	}
}
