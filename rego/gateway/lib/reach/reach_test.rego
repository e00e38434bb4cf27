package gateway.lib.reach_test

import data.gateway.lib.reach
import data.gateway.testing.example_test as example

_note(uri) := example.changed({"/resource": object.union(example.note, {"id": concat("/", ["files", uri])})})

test_a_tool_that_is_labelled_so_only_reads if {
	reach.reads_only(example.call)
	reach.stays_inside(example.call)
}

test_every_other_effect_is_more_than_a_read if {
	every effect in ["write", "destructive", "mint", "exec", "other", null] {
		call := example.changed({"/resource/properties/effect": effect})
		not reach.reads_only(call)
		reach.stays_inside(call)
	}
}

test_what_leaves_is_more_than_a_read if {
	every egress in [true, null, "false"] {
		call := example.changed({"/resource/properties/egress": egress})
		not reach.reads_only(call)
		not reach.stays_inside(call)
	}
}

test_unlabelled_tools_are_taken_for_the_worst if {
	every path in ["/resource/properties/egress", "/resource/properties/effect", "/resource/type"] {
		call := example.without(path)
		not reach.reads_only(call)
	}
	without_label := example.without("/resource/properties/egress")
	not reach.stays_inside(without_label)
}

test_resources_and_prompts_are_read if {
	prompt := example.changed({"/resource": object.union(example.note, {"type": "prompt", "properties": {"egress": true}})})
	reach.reads_only(prompt)
	reach.stays_inside(prompt)
	note := _note("file:///notes/today.txt")
	reach.reads_only(note)
	every uri in ["https", "db://shttp:/x", "notes://about-https", "file:///notes/https/a.txt"] {
		other := _note(uri)
		reach.reads_only(other)
	}
}

test_the_uri_of_a_web_page_leaves if {
	every uri in [
		"https://evil.test/?d=1", "HTTP://evil.test/", "ws://evil.test/", "wss://evil.test/", "ftp://evil.test/",
		"sftp://evil.test/", " https://evil.test/", "ht\ntps://evil.test/", "view-source:https://evil.test/",
		"git+https://evil.test/", "page://https://evil.test/", "page://get?url=https%3A%2F%2Fevil.test", "x://a?u=http%253a//b",
	] {
		call := _note(uri)
		not reach.reads_only(call)
	}
	labelled := json.patch(_note("https://evil.test/"), [{"op": "add", "path": "/resource/properties/egress", "value": true}])
	not reach.stays_inside(labelled)
}

_to(destinations) := example.changed({"/session/call_destinations": destinations})

_contracted(destinations, patterns) := json.patch(_to(destinations), [{
	"op": "add",
	"path": "/context/task/contract",
	"value": {"credential_flows": [], "limits": {}, "destinations": patterns},
}])

test_what_an_operator_trusts_is_named if {
	reach.names_trusted(_to(["bob@corp.example"])) with data.gateway.denials.toxic_flow.trusted_destinations as ["*@corp.example"]
	every destinations in [[], ["eve@evil.test"], ["bob@corp.example", "eve@evil.test"], ["eve@evil.test|bob@corp.example"], null] {
		call := _to(destinations)
		not reach.names_trusted(call) with data.gateway.denials.toxic_flow.trusted_destinations as ["*@corp.example"]
	}
	call := example.without("/session/call_destinations")
	not reach.names_trusted(call)
}

test_what_the_contract_trusts_is_named if {
	trusted := _contracted(["eve@evil.test"], ["eve@evil.test"])
	reach.names_trusted(trusted)
	every patterns in [[], null, "eve@evil.test", ["*@corp.example"]] {
		call := _contracted(["eve@evil.test"], patterns)
		not reach.names_trusted(call)
	}
}

test_a_lost_list_trusts_nothing if {
	every list in [null, "*", {}] {
		call := _to(["bob@corp.example"])
		not reach.names_trusted(call) with data.gateway.denials.toxic_flow.trusted_destinations as list
	}
}

test_a_system_is_trusted_by_its_audience if {
	reach.trusts_audience(example.call) with data.gateway.denials.toxic_flow.trusted_destinations as ["files"]
	not reach.trusts_audience(example.call) with data.gateway.denials.toxic_flow.trusted_destinations as ["mail", "files/*"]
	nameless := example.without("/resource/properties/audience")
	not reach.trusts_audience(nameless) with data.gateway.denials.toxic_flow.trusted_destinations as ["*"]
}

test_what_the_directory_knows_is_named if {
	every list, named in {["eve@evil.test"]: true, []: false, ["EVE@evil.test"]: false, ["x@evil.test"]: false} {
		call := json.patch(_to(["eve@evil.test"]), [{"op": "add", "path": "/session/known_destinations", "value": list}])
		{true | reach.names_trusted(call)} == {true | named}
	}
	every list in [null, "eve@evil.test"] {
		call := json.patch(_to(["eve@evil.test"]), [{"op": "add", "path": "/session/known_destinations", "value": list}])
		not reach.names_trusted(call)
	}
}

_sandbox := {"/resource/properties/sandbox": true, "/resource/properties/effect": "exec"}

test_a_tool_is_in_a_sandbox_if_it_is_labelled_so_and_nothing_leaves if {
	reach.in_sandbox(example.changed(_sandbox))
	not reach.in_sandbox(example.call)
	every value in [false, null, "true", 1, []] {
		not reach.in_sandbox(example.changed(object.union(_sandbox, {"/resource/properties/sandbox": value})))
	}
	not reach.in_sandbox(example.changed(object.union(_sandbox, {"/resource/properties/egress": true})))
	not reach.in_sandbox(example.changed(object.union(_sandbox, {"/resource/properties/effect": "mint"})))
	not reach.in_sandbox(example.changed(object.union(_sandbox, {"/resource/type": "resource"})))
}
