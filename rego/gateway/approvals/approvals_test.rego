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
		answered := {"/context/approval": example.approving(["approval/effect"])}
		_codes(object.union(places, answered), {"effects": [effect]}) == set()
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
		agreed := {"/context/task/approved_by": [{"id": "bob", "issuer": "https://idp.example"}]}
		_codes(object.union(places, agreed), {"effects": [effect]}) == set()
	}
}

test_what_history_asks_an_approval_answers if {
	every name, code in {"spread": "fan-out/spread", "calls": "budget/calls"} {
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
	{"groups": [""]}, {"groups": [1]}, {"groups": {"a": "sre"}}, {"assurance": "password"}, {"assurance": ""}, {"assurance": null},
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
