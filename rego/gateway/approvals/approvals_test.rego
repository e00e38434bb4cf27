package gateway.approvals_test

import data.gateway.approvals
import data.gateway.testing.example_test as example

# One look and a close one say the same.
_required(call) := required if {
	required := approvals.required with input as call
	needed := approvals.needed(call) with input as call
	needed == required
}

_codes(places, grant) := example.codes(found) if {
	found := _required(example.changed(places)) with data.gateway.grants.upstreams as example.granted(grant)
}

test_reading_needs_nobody if _codes({}, {}) == set()

test_a_grant_can_ask if {
	_codes({}, {"approval": true}) == {"approval/grant"}
	_codes({"/context/approval": example.approval}, {"approval": true}) == set()
}

test_what_cannot_be_taken_back_asks if {
	every effect in ["destructive", "mint", "exec", "other"] {
		_codes({"/resource/properties/effect": effect}, {"effects": [effect]}) == {"approval/effect"}
		_codes({"/resource/properties/effect": effect, "/context/approval": example.approval}, {"effects": [effect]}) == set()
	}
}

test_a_lost_list_asks if {
	found := _required(example.call) with data.gateway.settings.effects_without_approval as null with data.gateway.grants.upstreams as example.granted({})
	example.codes(found) == {"approval/effect"}
}

test_a_malformed_approval_is_none if {
	every fields in [
		{"id": ""}, {"id": null}, {"approvers": []}, {"approvers": "bob"}, {"approvers": [""]}, {"granted": ""},
		{"scope": "always"},
	] {
		approval := object.union(example.approval, fields)
		_codes({"/context/approval": approval}, {"approval": true}) == {"approval/grant"}
	}
}
