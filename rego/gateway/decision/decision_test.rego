package gateway.decision_test

import data.gateway.decision
import data.gateway.testing.example_test as example

_decided(places, grant) := found if {
	found := decision.result with input as example.changed(places)
		with data.gateway.grants.upstreams as example.granted(grant)
}

test_a_granted_call_passes if {
	_decided({}, {}) == {
		"version": 1,
		"effect": "allow",
		"reasons": [],
		"obligations": [],
		"policy": {"name": "opagate"},
	}
}

test_one_denial_is_enough if {
	found := _decided({"/resource/properties/pin": "changed"}, {})
	found.effect == "deny"
	[reason.code | some reason in found.reasons] == ["catalogue/changed"]
	found.reasons[0].controls == ["ASI04", "MCP03", "MCP04"]
	found.obligations == []
}

_reason(code, facts) := object.union(texts, {"code": code, "facts": facts, "message": message}) if {
	texts := object.filter(data.gateway.reasons[code], ["message", "remedy", "controls"])
	message := replace(texts.message, "{kind}", "tool")
}

test_a_reason_names_the_kind_of_the_target if {
	resources := {
		"tool": {},
		"prompt": {"/resource/type": "prompt", "/action/name": "prompts/get"},
		"resource": {"/resource/type": "resource", "/resource/id": "docs/file:///readme"},
		"skill": {"/resource/type": "resource", "/resource/id": "docs/skill://refunds/SKILL.md"},
	}
	every kind, places in resources {
		found := _decided(object.union(places, {"/resource/properties/pin": "changed"}), {})
		some reason in found.reasons
		reason.code == "catalogue/changed"
		reason.message == sprintf("The definition of this %s has changed since it was pinned.", [kind])
	}
}

test_each_reason_has_its_own_texts_and_facts if {
	found := _decided({"/resource/properties/pin": "changed", "/session/audiences": null}, {})
	found.reasons == [_reason(code, [fact]) |
		some [code, fact] in [
			["catalogue/changed", "/resource/properties/pin"],
			["fan-out/incomplete", "/session/audiences"],
		]
	]
}

test_each_family_can_refuse if {
	every path, family in {
		"/arguments": "argument",
		"/session/calls": "budget",
		"/resource/properties/pin": "catalogue",
		"/session/credentials": "credential-chain",
		"/subject/properties/delegation": "delegation",
		"/session/depth": "fan-out",
		"/subject/properties/scopes": "identity",
		"/resource/properties/trust": "tool",
		"/session/labels": "toxic-flow",
		"/version": "policy",
	} {
		found := decision.result with input as example.without(path)
			with data.gateway.grants.upstreams as example.granted({})
		found.effect == "deny"
		some reason in found.reasons
		startswith(reason.code, concat("", [family, "/"]))
	}
	outside := _decided({"/context/task/contract": {"credential_flows": [], "limits": {}, "tools": []}}, {})
	[reason.code | some reason in outside.reasons] == ["contract/tool"]
}

test_what_cannot_be_taken_back_is_asked_about_though_it_is_granted if {
	every effect in ["destructive", "mint"] {
		found := _decided({"/resource/properties/effect": effect}, {"effects": [effect]})
		found.effect == "ask"
		"approval/effect" in {reason.code | some reason in found.reasons}
	}
	_decided({"/resource/properties/effect": "write"}, {"effects": ["write"]}).effect == "allow"
}

test_what_a_person_may_decide_is_asked_and_not_refused if {
	found := _decided({"/session/calls": 200001}, {})
	found.effect == "ask"
	[reason.code | some reason in found.reasons] == ["budget/calls"]
}

test_facts_of_one_code_are_gathered if {
	places := {"/resource/properties/roles": {"/a": "selector", "/b": "selector"}, "/arguments": {"a": "..", "b": "../x"}}
	found := _decided(places, {})
	found.reasons[0].facts == ["/arguments/a", "/arguments/b"]
}

test_an_approval_is_asked_for if {
	found := _decided({}, {"approval": true})
	found.effect == "ask"
	found.reasons[0].code == "approval/grant"
	_decided({"/context/approval": example.approval}, {"approval": true}).effect == "ask"
	answered := _decided({"/context/approval": example.approving(["approval/grant"])}, {"approval": true})
	answered.effect == "allow"
}

test_an_unknown_version_is_refused if {
	every version in [0, 2, "1", null, [1]] {
		_decided({"/version": version}, {}).reasons[0].code == "policy/version"
	}
	found := decision.result with input as example.without("/version")
	found.effect == "deny"
}

test_a_code_without_texts_still_refuses if {
	found := decision.result with input as example.changed({"/resource/properties/pin": "changed"})
		with data.gateway.grants.upstreams as example.granted({})
		with data.gateway.reasons as {}
	found.reasons == [{
		"code": "catalogue/changed",
		"message": "catalogue/changed",
		"remedy": "",
		"controls": [],
		"facts": ["/resource/properties/pin"],
	}]
}

test_without_settings_the_default_refuses if {
	found := decision.result with input as example.call with data.gateway.settings as {}
	found.effect == "deny"
	found.reasons[0].code == "policy/undefined"
}

test_the_default_says_what_its_annotation_says if {
	found := decision.result with input as example.call with data.gateway.settings as {}
	found == {
		"version": 1,
		"effect": "deny",
		"reasons": [_reason("policy/undefined", [])],
		"obligations": [],
		"policy": {"name": "opagate"},
	}
}

test_an_empty_input_is_refused if {
	found := decision.result with input as {}
	found.effect == "deny"
}

test_no_person_is_asked_more_often_than_a_task_may_ask if {
	found := _decided({"/session/approvals_used": 100}, {"approval": true})
	found.effect == "deny"
	[reason.code | some reason in found.reasons] == ["approval/grant", "budget/approvals"]
	_decided({"/session/approvals_used": 100}, {}).effect == "allow"
	answered := {"/session/approvals_used": 100, "/context/approval": example.approving(["approval/grant"])}
	_decided(answered, {"approval": true}).effect == "allow"
}

test_a_question_about_a_limit_shows_the_number if {
	found := _decided({"/session/destinations": 8, "/session/depth": 3}, {})
	[reason.limits | some reason in found.reasons] == [{"depth": 3}, {"destinations": 8}]
	other := _decided({}, {"approval": true})
	[reason | some reason in other.reasons; reason.limits] == []
}

_two := {"id": "require_approvers", "properties": {"count": 2}}

test_an_answer_that_asks_says_who_may_approve if {
	found := _decided({"/resource/properties/effect": "destructive"}, {"effects": ["destructive"]})
	[obligation.id | some obligation in found.obligations] == ["require_approvers", "limit"]
	found.obligations[0].properties.exclude == ["requester", "user", "delegates"]
}

test_an_answer_that_allows_does_not_say_who_may_approve if {
	answered := {"/context/approval": example.approving(["approval/grant"])}
	_decided(answered, {"approval": true}).obligations == []
	passes := decision.result with input as example.call
		with data.gateway.grants.upstreams as example.granted({})
		with data.gateway.overlay.approvers as [_two]
	passes.effect == "allow"
	passes.obligations == []
}

test_an_overlay_holds_at_the_question_and_at_the_release if {
	asked := decision.result with input as example.call
		with data.gateway.grants.upstreams as example.granted({"approval": true})
		with data.gateway.overlay.approvers as [_two]
	asked.obligations[0].properties.count == 2
	alone := example.changed({"/context/approval": example.approving(["approval/grant"])})
	again := decision.result with input as alone
		with data.gateway.grants.upstreams as example.granted({"approval": true})
		with data.gateway.overlay.approvers as [_two]
	again.effect == "ask"
}

test_a_call_that_nobody_may_approve_is_refused if {
	found := decision.result with input as example.call
		with data.gateway.grants.upstreams as example.granted({"approval": true})
		with data.gateway.overlay.approvers as [{"id": "require_approvers", "properties": {"count": "2"}}]
	found.effect == "deny"
	[reason.code | some reason in found.reasons] == ["approval/grant", "approval/no-approver"]
	found.obligations == []
}

# Else the approval of the second question would lack the codes of the first, and the call would ask for ever.
test_a_question_shows_every_code_again if {
	places := {"/session/calls": 200001, "/context/approval": example.approving(["approval/grant"])}
	asked := _decided(places, {"approval": true})
	codes := [reason.code | some reason in asked.reasons]
	[asked.effect, codes] == ["ask", ["approval/grant", "budget/calls"]]
	released := _decided(object.union(places, {"/context/approval": example.approving(codes)}), {"approval": true})
	released.effect == "allow"
}

# --- observe mode -------------------------------------------------------------------------------------------

test_a_denial_says_what_it_hides_where_nothing_is_enforced if {
	held := {
		"fingerprint": "f", "detector": "jwt", "pointer": "/path", "origin": {"kind": "result", "audience": "mail"},
		"chain_depth": 0, "minted_in_task": false, "handle": false, "role": "credential",
	}
	places := {"/context/enforced": false, "/session/credentials": [held], "/resource/properties/sensitivity": "restricted"}
	found := _decided(places, {"tools": ["write_*"]})
	found.effect == "deny"
	found.obligations == []
	[reason.code | some reason in found.unenforced.asks] == ["credential-chain/presentation"]
	{obligation.id | some obligation in found.unenforced.obligations} == {"label"}
}

test_a_denial_says_no_more_where_it_is_enforced if {
	every places in [{}, {"/context/enforced": true}] {
		found := _decided(places, {"tools": ["write_*"]})
		found.effect == "deny"
		not found.unenforced
	}
}

test_a_denial_for_want_of_approvers_says_what_it_hides if {
	found := decision.result with input as example.changed({"/context/enforced": false})
		with data.gateway.grants.upstreams as example.granted({"approval": true})
		with data.gateway.approvers.rule as false
	found.effect == "deny"
	[reason.code | some reason in found.unenforced.asks] == ["approval/grant"]
}

test_a_denial_says_nothing_more_if_a_family_has_no_answer if {
	found := decision.result with input as example.changed({"/context/enforced": false})
		with data.gateway.grants.upstreams as example.granted({"tools": ["write_*"]})
		with data.gateway.overlay.asks as null
	found.effect == "deny"
	not found.unenforced
}
