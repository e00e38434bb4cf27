package gateway.denials.toxic_flow_test

import data.gateway.denials.toxic_flow
import data.gateway.testing.example_test as example

_labels(untrusted, confidentiality) := {"untrusted": untrusted, "confidentiality": confidentiality}

_sends := {"/resource/properties/effect": "write", "/resource/properties/egress": true}

_writes := {"/resource/properties/effect": "write"}

_after(labels, places) := example.changed(object.union({"/session/labels": labels}, places))

_to(destinations, places) := object.union({"/session/call_destinations": destinations}, places)

_denied(call) := example.codes(found) if {
	found := toxic_flow.denials with input as call with data.gateway.denials.toxic_flow.trusted_destinations as ["*@corp.example"]
}

_asked(call) := example.codes(found) if {
	found := toxic_flow.asks with input as call with data.gateway.denials.toxic_flow.trusted_destinations as ["*@corp.example"]
}

_passes(call) if {
	_denied(call) == set()
	_asked(call) == set()
}

test_two_of_the_three_pass if {
	_passes(_after(_labels(true, "restricted"), {}))
	_passes(_after(_labels(true, "internal"), _to(["eve@evil.test"], _sends)))
	_passes(_after(_labels(false, "restricted"), _to(["eve@evil.test"], _sends)))
}

test_what_is_open_may_leave if {
	every confidentiality in ["public", "internal"] {
		_found(_after(_labels(true, confidentiality), _sends)) == set()
	}
}

test_what_only_reads_passes_whatever_it_names if {
	every role in ["destination", "amount", "content", "credential", "other"] {
		_found(_ungrounded(role, {})) == set()
		_passes(_ungrounded(role, {}))
	}
}

test_all_three_ask_a_person if {
	every confidentiality in ["confidential", "restricted", "secret"] {
		every places in [_sends, _writes, {"/resource/properties/egress": true}, {"/resource/properties/effect": "exec"}] {
			every destinations in [[], ["eve@evil.test"], ["bob@corp.example"], null] {
				call := _after(_labels(true, confidentiality), _to(destinations, places))
				found := toxic_flow.asks with input as call
				found == {{
					"code": "toxic-flow/exfiltration",
					"facts": ["/session/call_destinations", "/session/confidential_systems", "/session/labels"],
				}}
			}
		}
	}
}

test_data_may_go_into_a_sandbox_without_a_way_out if {
	sandbox := {"/resource/properties/sandbox": true, "/resource/properties/effect": "exec"}
	_passes(_after(_labels(true, "restricted"), sandbox))
	asked := {"toxic-flow/exfiltration"}
	_asked(_after(_labels(true, "restricted"), _to(["eve@evil.test"], sandbox))) == asked
	_asked(_after(_labels(true, "restricted"), _to(null, sandbox))) == asked
	_asked(_after(_labels(true, "restricted"), object.union(sandbox, {"/resource/properties/egress": true}))) == asked
	_asked(_after(_labels(true, "restricted"), object.union(sandbox, {"/resource/properties/effect": "mint"}))) == asked
}

test_no_list_and_no_contract_answers_for_the_person if {
	trusted := {"/context/task/contract": {"credential_flows": [], "limits": {}, "destinations": ["*"]}}
	_asked(_after(_labels(true, "restricted"), object.union(_to(["bob@corp.example"], _sends), trusted))) == {"toxic-flow/exfiltration"}
}

_own := {"audience": "files", "tenant": "acme", "environment": "production"}

_home(places) := _after(_labels(true, "restricted"), object.union_n([
	_writes,
	{"/session/confidential_systems": [_own]},
	places,
]))

test_a_place_in_a_record_of_the_system_has_a_source if {
	roles := {"/x": "destination"}
	places := object.union(_writes, {"/session/ungrounded": ["/x"], "/resource/properties/roles": roles})
	_passes(_after(_labels(true, "internal"), object.union(places, {"/session/recorded": ["/x"]})))
	_asked(_after(_labels(true, "internal"), places)) == {"toxic-flow/ungrounded"}
	leaves := object.union(places, {"/session/recorded": ["/x"], "/resource/properties/egress": true})
	_asked(_after(_labels(true, "internal"), leaves)) == {"toxic-flow/ungrounded"}
}

test_a_dictated_call_gives_nothing_away if {
	every dictated, passing in {"quotes": [_sends, _writes], "words": [_writes]} {
		every places in passing {
			said := {"/session/dictated": dictated}
			_passes(_after(_labels(true, "restricted"), object.union(places, said)))
		}
	}
	every dictated in ["words", "", null, true] {
		call := _after(_labels(true, "restricted"), object.union(_sends, {"/session/dictated": dictated}))
		_asked(call) == {"toxic-flow/exfiltration"}
	}
}

test_data_may_go_back_to_its_own_system if {
	_passes(_home({}))
	_passes(_home({"/resource/properties/effect": "destructive"}))
	_passes(_home({"/session/ungrounded": ["/path"], "/resource/properties/roles": {"/path": "credential"}}))
	_passes(_home({
		"/session/ungrounded": ["/path"],
		"/session/call_destinations": ["bob@corp.example"],
		"/resource/properties/roles": {"/path": "destination"},
	}))
	_passes(_home({"/arguments": {"a/b~c": "x"}, "/resource/properties/roles": {"/a~1b~0c": "selector"}}))
	_passes(_home({"/arguments": {}}))
}

test_data_may_go_nowhere_else if {
	every places in [
		{"/session/confidential_systems": []},
		{"/session/confidential_systems": null},
		{"/session/confidential_systems": [_own, {"audience": "mail"}]},
		{"/session/confidential_systems": [object.union(_own, {"audience": "mail"})]},
		{"/session/confidential_systems": [object.union(_own, {"tenant": "other"})]},
		{"/session/confidential_systems": [object.remove(_own, ["tenant"])]},
		{"/session/confidential_systems": [object.union(_own, {"environment": "test"})]},
		{"/resource/properties/egress": true},
		{"/resource/properties/egress": null},
		{"/resource/properties/effect": "mint"},
		{"/resource/properties/effect": "exec"},
		{"/resource/type": "other"},
		{"/session/depth": null},
		{"/arguments": {"path": "notes/today.txt", "to": "eve@evil.test"}},
		{"/resource/properties/roles": {"/path/to": "selector"}},
	] {
		_asked(_home(places)) == {"toxic-flow/exfiltration"}
	}
	every path in ["/session/confidential_systems", "/session/depth", "/arguments", "/resource/properties/egress"] {
		_asked(example.lacking(_home({}), path)) == {"toxic-flow/exfiltration"}
	}
}

test_a_value_without_a_source_takes_data_away if {
	every role in ["destination", "content", "amount", "command", "selector"] {
		asked := _asked(_home({"/session/ungrounded": ["/path"], "/resource/properties/roles": {"/path": role}}))
		"toxic-flow/exfiltration" in asked
	}
}

test_unknown_facts_refuse if {
	every pointer in ["/session/labels/untrusted", "/session/labels/confidentiality", "/session/ungrounded"] {
		call := example.without(pointer)
		_found(call) != set()
		found := toxic_flow.denials with input as call
		found == {{"code": "toxic-flow/incomplete", "facts": [pointer]}}
		every value in [null, 1, {}, "secret"] {
			"toxic-flow/incomplete" in _denied(example.changed({pointer: value}))
		}
	}
	unlabelled := example.lacking(_after(_labels(true, "public"), _sends), "/session/labels")
	_denied(unlabelled) == {"toxic-flow/incomplete"}
	_asked(unlabelled) == {"toxic-flow/exfiltration"}
}

_ungrounded(role, places) := _after(_labels(true, "public"), object.union(
	{"/session/ungrounded": ["/x"], "/resource/properties/roles": {"/x": role}},
	places,
))

test_an_ungrounded_value_asks if {
	every role in ["destination", "amount", "command", "other"] {
		found := toxic_flow.asks with input as _ungrounded(role, _sends)
		found == {{"code": "toxic-flow/ungrounded", "facts": ["/arguments/x"]}}
	}
	_asked(_ungrounded("destination", _writes)) == {"toxic-flow/ungrounded"}
}

test_the_links_of_a_text_matter_where_it_leaves if {
	_asked(_ungrounded("content", _sends)) == {"toxic-flow/ungrounded"}
	_asked(_ungrounded("content", _to(["bob@corp.example"], _sends))) == {"toxic-flow/ungrounded"}
	_passes(_ungrounded("content", _writes))
	_passes(_ungrounded("content", {}))
}

test_credentials_are_not_judged_here if _passes(_ungrounded("credential", _sends))

test_what_only_reads_may_be_told_where if {
	_passes(_ungrounded("destination", {}))
	_passes(_ungrounded("amount", {}))
	_asked(_ungrounded("command", {})) == {"toxic-flow/ungrounded"}
	both := {"/session/ungrounded": ["/x/y"], "/resource/properties/roles": {"/x": "command", "/x/y": "destination"}}
	_asked(_after(_labels(true, "public"), both)) == {"toxic-flow/ungrounded"}
}

_asked_following(call) := codes if {
	codes := _asked(call) with data.gateway.settings.follow_links as true
}

_passes_following(call) if _asked_following(call) == set()

_fetches := {"/resource/properties/egress": true, "/session/followed": ["/x"]}

test_a_link_that_the_task_was_pointed_at_may_be_read if {
	_passes_following(_ungrounded("destination", _fetches))
	every places in [
		{"/session/followed": []},
		{"/session/followed": ["/y"]},
		{"/session/followed": null},
		{"/resource/properties/effect": "write"},
		{"/resource/properties/effect": "exec"},
		{"/resource/type": "resource", "/resource/id": "files/https://news.test/today"},
	] {
		_asked_following(_ungrounded("destination", object.union(_fetches, places))) == {"toxic-flow/ungrounded"}
	}
	_asked_following(_ungrounded("destination", {"/resource/properties/egress": true})) == {"toxic-flow/ungrounded"}
	every role in ["amount", "command", "content", "selector"] {
		_asked_following(_ungrounded(role, _fetches)) == {"toxic-flow/ungrounded"}
	}
}

test_no_link_is_followed_unless_the_operator_says_so if {
	call := _ungrounded("destination", _fetches)
	_asked(call) == {"toxic-flow/ungrounded"}
	every setting in [null, "true", 1, {}] {
		found := toxic_flow.asks with input as call with data.gateway.settings.follow_links as setting
		example.codes(found) == {"toxic-flow/ungrounded"}
	}
}

test_a_link_is_not_read_once_something_confidential_was if {
	_asked_following(_after(_labels(true, "confidential"), object.union(_fetches, {
		"/session/ungrounded": ["/x"],
		"/session/call_destinations": ["news.test"],
		"/resource/properties/roles": {"/x": "destination"},
	}))) == {"toxic-flow/exfiltration"}
}

test_a_place_without_a_label_has_authority if {
	_asked(_after(_labels(true, "public"), {"/session/ungrounded": ["/xy"], "/resource/properties/roles": {"/x": "credential"}})) == {"toxic-flow/ungrounded"}
}

test_nothing_untrusted_needs_no_ground if {
	_passes(_after(_labels(false, "public"), object.union(_sends, {"/session/ungrounded": ["/path"]})))
}

test_a_trusted_destination_is_ground_enough if {
	_passes(_ungrounded("destination", _to(["bob@corp.example"], _sends)))
	_asked(_ungrounded("destination", _to(["bob@corp.example", "eve@evil.test"], _sends))) == {"toxic-flow/ungrounded"}
	_asked(_ungrounded("destination", _to(["eve@evil.test|bob@corp.example"], _sends))) == {"toxic-flow/ungrounded"}
	_asked(_ungrounded("amount", _to(["bob@corp.example"], _sends))) == {"toxic-flow/ungrounded"}
	_asked(_ungrounded("destination", _to([], _sends))) == {"toxic-flow/ungrounded"}
}

_found(call) := example.found(denials, asks) if {
	denials := toxic_flow.denials with input as call
	asks := toxic_flow.asks with input as call
}

_selects(places) := _ungrounded("record", object.union(_writes, places))

test_a_record_that_no_untrusted_result_has_shown_may_be_selected if {
	_passes(_selects({"/session/unread": ["/x"]}))
	_passes(_selects({"/session/unread": ["/x"], "/resource/properties/egress": true}))
	_passes(_selects({
		"/session/ungrounded": ["/x/y"],
		"/session/unread": ["/x/y"],
		"/resource/properties/roles": {"/x": "selector", "/x/y": "record"},
	}))
	_passes(_home({
		"/session/ungrounded": ["/path"],
		"/session/unread": ["/path"],
		"/resource/properties/roles": {"/path": "record"},
	}))
}

test_a_record_of_unknown_origin_asks if {
	every places in [
		{},
		{"/session/unread": []},
		{"/session/unread": ["/y"]},
		{"/session/unread": null},
		{"/session/unread": "/x"},
	] {
		_asked(_selects(places)) == {"toxic-flow/ungrounded"}
	}
	strict := toxic_flow.asks with input as _selects({"/session/unread": ["/x"]}) with data.gateway.settings.unread_records as false
	example.codes(strict) == {"toxic-flow/ungrounded"}
	lost := toxic_flow.asks with input as _selects({"/session/unread": ["/x"]}) with data.gateway.settings as {}
	example.codes(lost) == {"toxic-flow/ungrounded"}
}

test_only_records_may_be_unread if {
	every role in ["destination", "amount", "command", "content", "selector"] {
		_asked(_ungrounded(role, object.union(_sends, {"/session/unread": ["/x"]}))) == {"toxic-flow/ungrounded"}
	}
	both := {"/session/ungrounded": ["/x/y"], "/session/unread": ["/x/y"]}
	every role in ["destination", "command", "content"] {
		roles := {"/resource/properties/roles": {"/x": role, "/x/y": "record"}}
		_asked(_selects(object.union(both, roles))) == {"toxic-flow/ungrounded"}
	}
}
