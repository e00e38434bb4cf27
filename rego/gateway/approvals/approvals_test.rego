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
	_codes({"/context/approval": example.approval}, {"approval": true}) == set()
}

test_what_cannot_be_taken_back_asks if {
	every effect in ["destructive", "exec", "other"] {
		_codes({"/resource/properties/effect": effect}, {"effects": [effect]}) == {"approval/effect"}
		_codes({"/resource/properties/effect": effect, "/context/approval": example.approval}, {"effects": [effect]}) == set()
	}
}

test_what_a_resource_is_labelled_asks_nobody if {
	resource := object.union(example.note, {"properties": {"effect": "destructive"}})
	_codes({"/resource": resource}, {}) == set()
}

test_a_credential_is_not_made_unasked if {
	_codes({"/resource/properties/effect": "mint"}, {"effects": ["mint"]}) == {"approval/effect", "credential-chain/mint"}
	_codes({"/resource/properties/effect": "mint", "/context/approval": example.approval}, {"effects": ["mint"]}) == set()
}

test_what_history_asks_an_approval_answers if {
	every name, code in {"spread": "fan-out/spread", "calls": "budget/calls"} {
		places := {concat("/", ["/session", name]): 200001}
		_codes(places, {}) == {code}
		every scope in ["once", "destination"] {
			approval := object.union(example.approval, {"scope": scope})
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

test_a_malformed_approval_is_none if {
	every fields in [
		{"id": ""}, {"id": null}, {"approvers": []}, {"approvers": "bob"}, {"approvers": [""]}, {"approvers": ["bob", ""]}, {"approvers": {"a": "bob"}},
		{"granted": ""},
		{"scope": "always"},
	] {
		approval := object.union(example.approval, fields)
		_codes({"/context/approval": approval}, {"approval": true}) == {"approval/grant"}
	}
}
