package gateway.denials.credential_chain_test

import data.gateway.denials.credential_chain

_stays := {"/resource/properties/effect": "write", "/session/call_destinations": [], "/session/ungrounded": []}

test_the_users_own_credential_in_a_parameter_asks_where_nothing_leaves if {
	roles := ["selector", "record", "content", "command"]
	every held in array.concat([object.remove(_user, ["role"])], [object.union(_user, {"role": role}) | some role in roles]) {
		call := _carrying([held], _stays)
		_denied(call) == set()
		_asked(call) == {"credential-chain/egress"}
	}
}

_unlabelled := {
	"/resource/properties/assumed": ["effect", "egress", "sensitivity"],
	"/resource/properties/effect": "write",
	"/resource/properties/egress": true,
}

test_without_labels_a_person_decides_on_the_users_own_credential if {
	bare := object.remove(_user, ["role"])
	call := _carrying([bare], _unlabelled)
	_denied(call) == set()
	found := credential_chain.asks with input as call
	some ask in found
	ask.code == "credential-chain/egress"
	array.slice(ask.facts, 0, 2) == ["/resource/properties/effect", "/resource/properties/egress"]
}

test_missing_labels_excuse_no_other_credential if {
	bare := object.remove(_user, ["role"])
	every held in [
		object.remove(_token, ["role"]),
		object.union(bare, {"minted_in_task": true}),
		object.union(bare, {"chain_depth": 2}),
		object.union(bare, {"role": "content"}),
		object.union(bare, {"role": "destination"}),
	] {
		"credential-chain/egress" in _denied(_carrying([held], _unlabelled))
	}
	labelled := object.union(_unlabelled, {"/resource/properties/assumed": ["sensitivity"]})
	"credential-chain/egress" in _denied(_carrying([bare], labelled))
}

test_any_other_misplaced_credential_is_refused if {
	selected := object.union(_user, {"role": "selector"})
	every places in [
		{"/resource/properties/egress": true},
		{"/resource/properties/effect": "exec"},
		{"/resource/properties/effect": "mint"},
		{"/session/call_destinations": ["bob@corp.example"], "/session/ungrounded": ["/to"]},
		{"/session/call_destinations": null},
		{"/session/ungrounded": ["/text"]},
		{"/session/ungrounded": null},
	] {
		"credential-chain/egress" in _denied(_carrying([selected], object.union(_stays, places)))
	}
	every change in [{"minted_in_task": true}, {"chain_depth": 2}, {"role": "destination"}] {
		"credential-chain/egress" in _denied(_carrying([object.union(selected, change)], _stays))
	}
	shown := object.union(_token, {"role": "selector"})
	_denied(_carrying([shown], _stays)) == {"credential-chain/egress"}
}

test_in_a_sandbox_a_person_decides_on_the_users_own_credential_in_code if {
	inside := object.union(_stays, {"/resource/properties/effect": "exec", "/resource/properties/sandbox": true})
	every held in [object.union(_user, {"role": "command"}), object.remove(_user, ["role"])] {
		call := _carrying([held], inside)
		_denied(call) == set()
		_asked(call) == {"credential-chain/egress"}
	}
	shown := object.union(_token, {"role": "command"})
	_denied(_carrying([shown], inside)) == {"credential-chain/egress"}
}
