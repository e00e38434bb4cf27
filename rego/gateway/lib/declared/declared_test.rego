package gateway.lib.declared_test

import data.gateway.lib.declared
import data.gateway.testing.example_test as example

_agreed := {
	"/resource/properties/effect": "destructive",
	"/context/task/contract": {
		"credential_flows": [],
		"limits": {},
		"effects": {"destructive": ["files/read_*"]},
	},
	"/context/task/approved_by": [{"id": "bob", "issuer": "https://idp.example", "groups": [], "assurance": "login"}],
	"/session/unsourced": [],
}

# A union alone would merge the two contracts.
_holds(places) if {
	rest := object.remove(_agreed, object.keys(places))
	declared.effect_agreed(example.changed(object.union(rest, places)))
}

test_an_approved_declaration_holds if _holds({})

test_a_declaration_of_the_agent_alone_opens_nothing if {
	not _holds({"/context/task/approved_by": []})
	not _holds({"/context/task/approved_by": null})
	not _holds({"/context/task/approved_by": "bob"})
	not _holds({"/context/task/approved_by": ["bob"]})
	not _holds({"/context/task/approved_by": [{"id": "spiffe://corp/agent/triage", "issuer": "x", "groups": [], "assurance": "login"}]})
	not _holds({"/context/task/approved_by": [{"id": "bob", "issuer": "", "groups": [], "assurance": "login"}]})
	not declared.effect_agreed(example.lacking(example.changed(_agreed), "/context/task/approved_by"))
}

_bob := {"id": "bob", "issuer": "https://idp.example", "groups": ["sre"], "assurance": "mfa"}

_carol := object.union(_bob, {"id": "carol"})

test_the_people_satisfy_the_rules_of_the_call if {
	every rule, people in {
		{"count": 2}: [_bob, _carol],
		{"group": "sre"}: [_bob],
		{"assurance": "mfa"}: [_bob],
	} {
		every class, name in {"effects": "destructive", "environments": "production", "families": "approval"} {
			settings := json.patch(data.gateway.settings.approvers, [{"op": "add", "path": sprintf("/%s/%s", [class, name]), "value": rule}])
			call := {"/resource/properties/environment": "production"}
			_holds(object.union(call, {"/context/task/approved_by": people})) with data.gateway.settings.approvers as settings
			not _holds(call) with data.gateway.settings.approvers as settings
		}
	}
}

test_without_rules_on_approvers_nobody_has_approved if {
	every field in ["effects", "environments", "sensitivities", "families"] {
		rest := object.remove(data.gateway.settings.approvers, [field])
		settings := object.union(object.remove(data.gateway.settings, ["approvers"]), {"approvers": rest})
		not _holds({}) with data.gateway.settings as settings
	}
	not _holds({}) with data.gateway.settings as object.remove(data.gateway.settings, ["approvers"])
}

test_a_delegate_approves_nothing if {
	not _holds({"/subject/properties/delegation": [{"id": "bob"}]})
	_holds({"/subject/properties/delegation": [{"id": "carol"}]})
}

test_an_agent_of_a_task_above_approves_nothing if {
	not _holds({"/context/task/agents": ["lead", "Bob"]})
	_holds({"/context/task/agents": ["lead"]})
}

test_the_same_name_is_the_same_person if {
	not _holds({"/context/task/approved_by": [{"id": "SPIFFE://corp/agent/Triage ", "issuer": "x", "groups": [], "assurance": "login"}]})
	not _holds({"/subject/properties/delegation": [{"id": "BOB"}]})
	every name in ["alice", "Alice", " ALICE "] {
		not _holds({"/context/task/approved_by": [{"id": name, "issuer": "https://other.example", "groups": [], "assurance": "login"}]})
		not _holds({"/context/task/approved_by": [{"id": "bob", "issuer": "x", "groups": [], "assurance": "login"}, {"id": name, "issuer": "x", "groups": [], "assurance": "login"}]})
	}
	_holds({"/subject/properties/user": null})
}

test_the_declaration_names_the_tool_and_the_effect if {
	every effects in [
		{"destructive": []}, {"destructive": ["mail/*"]}, {"destructive": "files/read_file"}, {"mint": ["files/read_file"]},
		{},
	] {
		contract := {"credential_flows": [], "limits": {}, "effects": effects}
		not _holds({"/context/task/contract": contract})
	}
}

test_code_cannot_be_declared if {
	contract := {"credential_flows": [], "limits": {}, "effects": {"exec": ["files/*"]}}
	not _holds({"/resource/properties/effect": "exec", "/context/task/contract": contract})
}

test_each_value_needs_a_source if {
	not _holds({"/session/unsourced": ["/path"]})
	not _holds({"/session/unsourced": null})
	not declared.effect_agreed(example.lacking(example.changed(_agreed), "/session/unsourced"))
	not _holds({"/session/ungrounded": ["/path"]})
	not _holds({"/session/ungrounded": null})
	roles := {"/path": "credential"}
	_holds({"/session/ungrounded": ["/path"], "/resource/properties/roles": roles})
}

test_a_record_that_no_untrusted_result_has_shown_has_a_source if {
	places := {"/session/ungrounded": ["/order"], "/resource/properties/roles": {"/order": "record"}}
	not _holds(places)
	_holds(object.union(places, {"/session/unread": ["/order"]}))
	not _holds(object.union(places, {"/session/unread": ["/path"]}))
}
