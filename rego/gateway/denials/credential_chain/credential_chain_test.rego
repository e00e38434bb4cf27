package gateway.denials.credential_chain_test

import data.gateway.denials.credential_chain
import data.gateway.testing.example_test as example

_token := {
	"fingerprint": "f1",
	"detector": "github-token",
	"pointer": "/token",
	"role": "credential",
	"origin": {"kind": "result", "audience": "files", "call": 1},
	"chain_depth": 0,
	"minted_in_task": false,
	"handle": false,
}

_from(origin) := json.patch(_token, [{"op": "replace", "path": "/origin", "value": origin}])

_user := _from({"kind": "user"})

_carrying(credentials, places) := example.changed(object.union({"/session/credentials": credentials}, places))

_denied(call) := example.codes(found) if found := credential_chain.denials with input as call

_asked(call) := example.codes(found) if found := credential_chain.asks with input as call

_passes(call) if {
	_denied(call) == set()
	_asked(call) == set()
}

_sends := {"/resource/properties/effect": "write", "/resource/properties/egress": true}

test_a_handle_goes_nowhere_else_whatever_the_contract_says if {
	elsewhere := _from({"kind": "result", "audience": "mail", "call": 1})
	flow := {"/context/task/contract": {"credential_flows": [{"from": "mail", "to": "files"}], "limits": {}}}
	_denied(_carrying([elsewhere], flow)) == set()
	every handle in [true, null] {
		held := object.union(elsewhere, {"handle": handle})
		_denied(_carrying([held], flow)) == {"credential-chain/presentation"}
		_denied(_carrying([held], {})) == {"credential-chain/presentation"}
	}
	_denied(_carrying([object.remove(elsewhere, ["handle"])], flow)) == {"credential-chain/presentation"}
	_passes(_carrying([object.union(_token, {"handle": true})], {}))
}

test_a_call_without_credentials_passes if {
	_found(example.call) == set()
	writes := example.changed({"/resource/properties/effect": "write"})
	_found(writes) == set()
	_passes(writes)
}

test_unknown_credentials_refuse if {
	call := example.without("/session/credentials")
	_found(call) != set()
	found := credential_chain.denials with input as call
	found == {{"code": "credential-chain/incomplete", "facts": ["/session/credentials"]}}
	every value in [null, {}, "none"] {
		"credential-chain/incomplete" in _denied(example.changed({"/session/credentials": value}))
	}
}

test_showing_it_where_it_came_from_passes if {
	_passes(_carrying([_token], {}))
	_passes(_carrying([_token], _sends))
	without_role := object.remove(_token, ["role"])
	_passes(_carrying([without_role], {}))
	page_token := object.union(without_role, {"chain_depth": 9})
	_passes(_carrying([page_token], {}))
}

test_what_the_user_gave_passes if {
	_passes(_carrying([_user], {}))
	_passes(_carrying([_user], _sends))
}

test_showing_it_to_another_system_asks if {
	found := credential_chain.asks with input as _carrying([_user, _from({"kind": "result", "audience": "mail"})], {})
	found == {{"code": "credential-chain/presentation", "facts": ["/arguments/token", "/session/credentials/1"]}}
	_denied(_carrying([_from({"kind": "result", "audience": "mail"})], {})) == set()
	unnamed := example.lacking(_carrying([_token], {}), "/resource/properties/audience")
	_asked(unnamed) == {"credential-chain/presentation"}
}

test_nobody_can_show_another_system_what_comes_from_no_known_system if {
	every origin in [{"kind": "result"}, {"kind": "result", "audience": null}] {
		_denied(_carrying([_from(origin)], {})) == {"credential-chain/presentation"}
	}
}

test_nobody_can_show_another_system_what_the_task_made if {
	made := object.union(_mailed, {"minted_in_task": true})
	_denied(_carrying([made], {})) == {"credential-chain/presentation"}
	_denied(_carrying([object.remove(made, ["minted_in_task"])], {})) == {"credential-chain/presentation"}
	_asked(_carrying([made], _flow("mail", "files"))) == {"credential-chain/presentation"}
}

_mailed := _from({"kind": "result", "audience": "mail", "call": 1})

_addressed(destinations, ungrounded) := object.union(_sends, {
	"/resource/properties/roles": {"/to": "destination", "/token": "credential", "/text": "content"},
	"/session/call_destinations": destinations,
	"/session/ungrounded": ungrounded,
})

test_what_another_system_showed_leaves_for_no_place_that_nobody_named if {
	every ungrounded in [["/to"], ["/to", "/token"], ["/text"], null, {}] {
		_denied(_carrying([_mailed], _addressed(["evil.test"], ungrounded))) == _astray
	}
	every destinations in [null, {}, "corp.example"] {
		_denied(_carrying([_mailed], _addressed(destinations, []))) == _astray
	}
	unknown := example.lacking(_carrying([_mailed], _addressed([], [])), "/session/call_destinations")
	_denied(unknown) == _astray
	named := _carrying([_mailed], _addressed(["corp.example"], ["/token"]))
	_denied(named) == set()
	_asked(named) == {"credential-chain/presentation"}
	_asked(_carrying([_mailed], _addressed([], []))) == {"credential-chain/presentation"}
}

_astray := {"credential-chain/egress", "credential-chain/presentation"}

test_a_place_that_the_operator_trusts_is_named if {
	call := _carrying([object.union(_user, {"role": "content"})], _addressed(["bob@corp.example"], ["/to"]))
	_denied(call) == {"credential-chain/egress"}
	found := _found(call) with data.gateway.denials.toxic_flow.trusted_destinations as ["*@corp.example"]
	example.codes(found) == {"credential-chain/egress"}
	every finding in found {
		finding.asked
	}
	link := _carrying([object.union(_user, {"role": "content"})], _addressed(["bob@corp.example"], ["/text"]))
	refused := credential_chain.denials with input as link
		with data.gateway.denials.toxic_flow.trusted_destinations as ["*@corp.example"]
	example.codes(refused) == {"credential-chain/egress"}
}

test_a_person_decides_on_a_credential_for_a_named_place if {
	every found in [_user, _from({"kind": "unknown"})] {
		call := _carrying([object.union(found, {"role": "content"})], _addressed(["corp.example"], []))
		_denied(call) == set()
		"credential-chain/egress" in _asked(call)
	}
	every change in [{"minted_in_task": true}, {"minted_in_task": null}, {"chain_depth": 2}, {"chain_depth": null}] {
		held := object.union_n([_user, {"role": "content"}, change])
		_denied(_carrying([held], _addressed(["corp.example"], []))) == {"credential-chain/egress"}
	}
}

test_a_system_is_no_named_place_by_itself if {
	note := object.union(_token, {"role": "content"})
	own := object.union(_user, {"role": "content"})
	"credential-chain/egress" in _denied(_carrying([own], _sends))
	every places in [_sends, {"/resource/properties/effect": "write"}] {
		every held in [note, object.union(_mailed, {"role": "content"})] {
			"credential-chain/egress" in _denied(_carrying([held], places))
			found := credential_chain.denials with input as _carrying([held], places)
				with data.gateway.denials.toxic_flow.trusted_destinations as ["files"]
			found == set()
		}
	}
}

_flow(from, to) := {"/context/task/contract": {"credential_flows": [{"from": from, "to": to}], "limits": {}}}

test_a_declared_flow_asks_a_person if {
	mailed := _from({"kind": "result", "audience": "mail"})
	declared := _carrying([mailed], _flow("mail", "files"))
	_denied(declared) == set()
	_asked(declared) == {"credential-chain/presentation"}
	made := object.union(mailed, {"minted_in_task": true})
	every flow in [_flow("files", "mail"), _flow("mail", "web"), _flow("*", "*")] {
		_denied(_carrying([made], flow)) == {"credential-chain/presentation"}
	}
	_passes(_carrying([_token], _flow("files", "files")))
	nowhere := _from({"kind": "result"})
	_denied(_carrying([nowhere], _flow("mail", "files"))) == {"credential-chain/presentation"}
}

test_a_declared_flow_is_not_for_a_chain if {
	deep := object.union(_from({"kind": "result", "audience": "mail"}), {"chain_depth": 2})
	_denied(_carrying([deep], _flow("mail", "files"))) == {"credential-chain/lineage"}
	first := object.union(deep, {"chain_depth": 1})
	_denied(_carrying([first], _flow("mail", "files"))) == set()
	every depth in [null, "0"] {
		odd := object.union(deep, {"chain_depth": depth})
		_denied(_carrying([odd], _flow("mail", "files"))) == {"credential-chain/lineage"}
	}
	lost := credential_chain.denials with input as _carrying([first], _flow("mail", "files"))
		with data.gateway.denials.credential_chain.max_chain_depth as null
	example.codes(lost) == {"credential-chain/lineage"}
}

test_a_plain_word_that_a_system_named_asks if {
	word := object.union(_from({"kind": "result", "audience": "mail", "call": 1}), {"plain_word": true, "chain_depth": 3})
	every role in ["credential", "content", "destination", "amount"] {
		call := _carrying([object.union(word, {"role": role})], _sends)
		_denied(call) == set()
		_asked(call) == {"credential-chain/plain-word"}
	}
	_asked(_carrying([object.union(_token, {"plain_word": true, "role": "content"})], _sends)) == {"credential-chain/plain-word"}
	_passes(_carrying([object.union(_token, {"plain_word": true})], {}))
}

test_only_a_plain_word_is_asked_about if {
	elsewhere := _from({"kind": "result", "audience": "mail", "call": 1})
	every plain in [false, null, "true", 1] {
		call := _carrying([object.union(elsewhere, {"plain_word": plain})], {})
		_denied(call) == set()
		_asked(call) == {"credential-chain/presentation"}
	}
	handle := object.union(elsewhere, {"plain_word": true, "handle": true})
	_denied(_carrying([handle], {})) == {"credential-chain/presentation"}
	both := _carrying([object.union(elsewhere, {"plain_word": true}), elsewhere], {})
	_asked(both) == {"credential-chain/plain-word", "credential-chain/presentation"}
}

test_a_credential_of_the_gateway_is_in_no_agents_hands if {
	issued := _carrying([_from({"kind": "broker", "audience": "files"})], {})
	_denied(issued) == {"credential-chain/lineage"}
	_asked(issued) == set()
}

test_content_and_destinations_hold_no_credentials if {
	every role in ["content", "destination"] {
		every found in [_token, _user] {
			placed := object.union(found, {"role": role})
			_denied(_carrying([placed], {"/resource/properties/egress": true})) == {"credential-chain/egress"}
		}
	}
}

test_what_writes_or_leaves_holds_credentials_in_their_place_only if {
	every places in [
		_sends,
		{"/resource/properties/effect": "write"},
		{"/resource/properties/egress": true},
		{"/resource/properties/effect": "exec"},
	] {
		every found in [_token, _user] {
			_passes(_carrying([found], places))
			every held in [
				object.remove(found, ["role"]),
				object.union(found, {"role": "selector"}),
				object.union(found, {"role": "command"}),
			] {
				call := _carrying([held], places)
				_denied(call) | _asked(call) == {"credential-chain/egress"}
			}
		}
	}
}

test_making_a_credential_asks if {
	makes := {"/resource/properties/effect": "mint"}
	_asked(_carrying([], makes)) == {"credential-chain/mint"}
	_denied(_carrying([], makes)) == set()
	_denied(_carrying([_user], makes)) == set()
	_asked(_carrying([_user], {})) == set()
}

test_making_a_credential_with_one_that_was_made_here_is_refused if {
	every minted in [true, null, "false"] {
		made := object.union(_token, {"minted_in_task": minted})
		_denied(_carrying([made], {"/resource/properties/effect": "mint"})) == {"credential-chain/mint"}
		_denied(_carrying([made], {})) == set()
	}
	unsaid := object.remove(_token, ["minted_in_task"])
	_denied(_carrying([unsaid], {"/resource/properties/effect": "mint"})) == {"credential-chain/mint"}
	deep := object.union(_token, {"chain_depth": 2})
	_denied(_carrying([deep], {"/resource/properties/effect": "mint"})) == {"credential-chain/lineage"}
}

test_a_credential_from_nowhere_asks if {
	every origin in [{"kind": "unknown"}, {"kind": "other"}, {}] {
		_asked(_carrying([_from(origin)], {})) == {"credential-chain/unknown"}
		_denied(_carrying([_from(origin)], {})) == set()
		_denied(_carrying([_from(origin)], {"/resource/properties/effect": "write"})) == set()
	}
}

test_a_credential_from_nowhere_asks_before_it_leaves if {
	_asked(_carrying([_from({"kind": "unknown"})], _sends)) == {"credential-chain/unknown"}
	misplaced := _carrying([object.union(_from({"kind": "unknown"}), {"role": "content"})], _sends)
	_asked(misplaced) == {"credential-chain/egress", "credential-chain/unknown"}
	_denied(misplaced) == set()
}

test_a_malformed_credential_is_one_from_nowhere if {
	every value in ["x", {}, null] {
		_asked(_carrying([value], {})) == {"credential-chain/unknown"}
	}
	placeless := object.union(_from({"kind": "broker"}), {"pointer": null})
	found := credential_chain.denials with input as _carrying([placeless], {})
	found == {{"code": "credential-chain/lineage", "facts": ["/arguments", "/session/credentials/0"]}}
}

_login(tool, arguments) := example.changed({
	"/resource/properties/effect": "write",
	"/resource/properties/tool": tool,
	"/arguments": arguments,
})

test_a_login_as_somebody_else_asks if {
	every tool in ["login", "user_login", "LogIn", "authenticate_user", "sudo", "assume_role"] {
		found := credential_chain.asks with input as _login(tool, {"username": "root"})
		found == {{"code": "credential-chain/identity-switch", "facts": ["/arguments/username"]}}
		_found(_login(tool, {"username": "root"})) != set()
	}
	every name in ["User", "user-name", "USER_ID", "userName"] {
		_asked(_login("login", {name: "root"})) == {"credential-chain/identity-switch"}
		_found(_login("login", {name: "root"})) != set()
	}
	nested := credential_chain.asks with input as _login("login", {"as": {"deep": {"User": "root"}}})
	nested == {{"code": "credential-chain/identity-switch", "facts": ["/arguments/as"]}}
	_found(_login("login", {"as": {"user": "root"}})) != set()
	_asked(_login("login", {"as": " {\"user\": \"root\"}"})) == {"credential-chain/identity-switch"}
	_found(_login("login", {"as": " {\"user\": \"root\"}"})) != set()
	_asked(_login("login", {"user": 42})) == {"credential-chain/identity-switch"}
	every name in ["userId", "user-id", "USER_ID", "user\u0130d", "USER_\u0130D"] {
		_asked(_login("login", {name: "root"})) == {"credential-chain/identity-switch"}
	}
	nobody := json.patch(_login("login", {"user": "alice"}), [{"op": "replace", "path": "/subject/properties/user", "value": null}])
	_asked(nobody) == {"credential-chain/identity-switch"}
}

test_a_login_with_another_letter_is_one_as_somebody_else if {
	every user in ["al\u0130ce", "ali\u0307ce", "al\u0131ce"] {
		_asked(_login("login", {"user": user})) == {"credential-chain/identity-switch"}
	}
}

test_a_login_as_oneself_passes if {
	_passes(_login("login", {"username": "Alice", "password": "x"}))
	_passes(_login("login", {"site": "{x", "as": "{\"user\": \"alice\"}"}))
	_passes(_login("create_contact", {"email": "bob@example.com"}))
	_passes(_login("login", {"site": "x", "as": {"user": "alice"}, "log": [{"user": "bob"}]}))
	_passes(json.patch(_login("login", {"user": "alice"}), [{"op": "replace", "path": "/subject/properties/user/id", "value": "Alice"}]))
	sigma := json.patch(_login("login", {"user": "\u039f\u03a3"}), [{"op": "replace", "path": "/subject/properties/user/id", "value": "\u03bf\u03c3"}])
	_passes(sigma)
	reads := json.patch(_login("login", {"user": "bob"}), [{"op": "replace", "path": "/resource/properties/effect", "value": "read"}])
	_found(reads) == set()
	_passes(reads)
}

test_a_login_as_an_account_of_the_goal_passes if {
	accounts := {"op": "add", "path": "/session/named_accounts", "value": ["usr001", "42"]}
	every user in ["USR001", "usr001", 42] {
		_passes(json.patch(_login("login", {"user": user}), [accounts]))
	}
	_passes(json.patch(_login("login", {"as": "{\"user\": \"USR001\"}"}), [accounts]))
	every user in ["USR002", "USR0011", "usr001 ", 42.5, 421, null, ["USR001"], {"id": "USR001"}] {
		_asked(json.patch(_login("login", {"user": user}), [accounts])) == {"credential-chain/identity-switch"}
	}
	both := json.patch(_login("login", {"user": "USR001", "as": {"user": "root"}}), [accounts])
	found := credential_chain.asks with input as both
	found == {{"code": "credential-chain/identity-switch", "facts": ["/arguments/as"]}}
}

test_a_tool_that_makes_credentials_of_others_asks if {
	places := {"/resource/properties/effect": "mint", "/arguments": {"user": "root", "key": "x"}}
	_asked(example.changed(places)) == {"credential-chain/mint"}
	labelled := object.union(places, {"/resource/properties/roles": {"/key": "credential"}})
	_asked(example.changed(labelled)) == {"credential-chain/mint", "credential-chain/identity-switch"}
	every effect in ["read", "write"] {
		_passes(example.changed(object.union(labelled, {"/resource/properties/effect": effect})))
	}
}

_found(call) := example.found(denials, asks) if {
	denials := credential_chain.denials with input as call
	asks := credential_chain.asks with input as call
}

_code := object.union(_from({"kind": "result", "audience": "mail", "call": 2}), {"one_time": true, "requested": true})

_unnamed := {
	"/session/call_destinations": ["eve@evil.example"],
	"/session/ungrounded": ["/to"],
	"/resource/properties/roles": {"/token": "credential", "/to": "destination"},
}

test_a_code_goes_to_the_system_that_waits_for_it if {
	_passes(_carrying([_code], {}))
	_passes(_carrying([_code], {"/resource/properties/effect": "write"}))
	long_chain := object.union(_code, {"chain_depth": 9})
	_passes(_carrying([long_chain], {"/resource/properties/effect": "write"}))
}

test_a_code_that_nobody_waits_for_asks if {
	every change in [{"requested": false}, {"requested": null}, {"minted_in_task": true, "requested": false}, {"chain_depth": 9, "requested": false}] {
		call := _carrying([object.union(_code, change)], {})
		_asked(call) == {"credential-chain/one-time-code"}
		_denied(call) == set()
	}
	bare := object.remove(_code, ["requested"])
	found := credential_chain.asks with input as _carrying([bare], {})
	found == {{"code": "credential-chain/one-time-code", "facts": ["/arguments/token", "/session/credentials/0"]}}
}

test_a_code_asks_in_any_other_argument if {
	every role in ["content", "destination", "selector", "command"] {
		call := _carrying([object.union(_code, {"role": role})], _sends)
		_asked(call) == {"credential-chain/one-time-code"}
		_denied(call) == set()
	}
	unlabelled := _carrying([object.remove(_code, ["role"])], _sends)
	_asked(unlabelled) == {"credential-chain/one-time-code"}
	own := object.union(_code, {"origin": {"kind": "result", "audience": "files", "call": 1}, "role": "content"})
	_asked(_carrying([own], _sends)) == {"credential-chain/one-time-code"}
}

test_a_code_of_the_called_system_goes_back if {
	own := object.union(_code, {"origin": {"kind": "result", "audience": "files", "call": 1}, "requested": false})
	_passes(_carrying([own], {}))
	_passes(_carrying([own], _sends))
}

test_a_code_asks_on_its_way_to_a_place_that_nobody_named if {
	call := _carrying([_code], object.union(_sends, _unnamed))
	_asked(call) == {"credential-chain/one-time-code"}
	_denied(call) == set()
	named := _carrying([_code], object.union_n([_sends, _unnamed, {"/session/ungrounded": []}]))
	_passes(named)
	unknown := example.lacking(_carrying([_code], _sends), "/session/call_destinations")
	_asked(unknown) == {"credential-chain/one-time-code"}
}

test_a_code_behind_a_handle_is_a_handle if {
	every handle in [true, null] {
		_denied(_carrying([object.union(_code, {"handle": handle})], {})) == {"credential-chain/presentation"}
	}
}

test_a_code_that_is_a_plain_word_too_asks_once if {
	plain := object.union(_code, {"plain_word": true})
	_passes(_carrying([plain], {}))
	_asked(_carrying([object.union(plain, {"requested": false})], {})) == {"credential-chain/one-time-code"}
}

test_a_code_makes_a_credential_with_a_question if {
	made := object.union(_code, {"minted_in_task": true, "requested": false})
	call := _carrying([made], {"/resource/properties/effect": "mint"})
	_denied(call) == set()
	_asked(call) == {"credential-chain/mint", "credential-chain/one-time-code"}
}

_pointed := object.union(_from({"kind": "result", "audience": "mail", "call": 1}), {"pointed_at": true, "role": "content"})

_to_record := {
	"/resource/properties/effect": "write",
	"/resource/properties/roles": {"/token": "content", "/ticket": "selector"},
	"/session/ungrounded": [],
	"/session/call_destinations": [],
}

test_a_credential_that_the_goal_points_at_asks_and_shows_its_way if {
	call := _carrying([_pointed], _to_record)
	_denied(call) == set()
	facts := ["/arguments/token", "/session/credentials/0", "/context/task/goal", "/arguments/ticket"]
	found := credential_chain.asks with input as call
	found == {
		{"code": "credential-chain/egress", "facts": facts},
		{"code": "credential-chain/presentation", "facts": facts},
	}
	user := object.union(_user, {"pointed_at": true, "role": "content"})
	_denied(_carrying([user], _to_record)) == set()
	_asked(_carrying([user], _to_record)) == {"credential-chain/egress"}
}

test_a_credential_that_the_goal_does_not_point_at_goes_nowhere if {
	every change in [{"pointed_at": false}, {"pointed_at": null}, {"minted_in_task": true}, {"chain_depth": 9}, {"handle": true}] {
		_denied(_carrying([object.union(_pointed, change)], _to_record)) != set()
	}
	_denied(_carrying([_pointed], object.union(_to_record, {"/session/ungrounded": ["/to"]}))) != set()
	unknown := example.lacking(_carrying([_pointed], _to_record), "/session/ungrounded")
	_denied(unknown) != set()
}
