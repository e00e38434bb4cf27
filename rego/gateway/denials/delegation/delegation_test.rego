package gateway.denials.delegation_test

import data.gateway.denials.delegation
import data.gateway.testing.example_test as example

_links(count_of) := [{"id": sprintf("agent-%d", [i]), "issuer": "https://idp.example"} |
	some i in numbers.range(1, count_of)
]

_chain(links) := example.changed({
	"/subject/properties/delegation": links,
	"/subject/properties/delegation_depth": count(links),
})

_denials(call) := denials if denials := delegation.denials with input as call

_codes(links) := example.codes(found) if {
	found := _denials(_chain(links))
}

test_a_direct_call_is_not_refused if {
	found := _denials(example.call)
	found == set()
}

test_an_agent_that_acts_for_itself_needs_no_user_and_no_limit if {
	found := _denials(example.changed({"/subject/properties/user": null}))
	found == set()
	without_limit := _denials(example.call) with data.gateway.denials.delegation.max_depth as null
	without_limit == set()
}

test_a_chain_within_the_limit_is_not_refused if {
	_codes(_links(1)) == set()
	_codes(_links(3)) == set()
}

test_a_longer_chain_is_refused if _codes(_links(4)) == {"delegation/depth"}

test_a_lost_limit_refuses if {
	every limit in [null, "3", {}] {
		found := _denials(_chain(_links(1))) with data.gateway.denials.delegation.max_depth as limit
		example.codes(found) == {"delegation/depth"}
	}
}

test_each_link_of_a_longer_chain_has_an_issuer if {
	_codes([{"id": "agent-1"}]) == set()
	_codes([{"id": "a"}, {"id": "b", "issuer": "i"}]) == {"delegation/issuer-missing"}
	found := _denials(_chain([{"id": "a"}, {"id": "b", "issuer": "i"}, {"id": "c", "issuer": ""}]))
	found == {{"code": "delegation/issuer-missing", "facts": [
		"/subject/properties/delegation/0/issuer",
		"/subject/properties/delegation/2/issuer",
	]}}
}

test_a_chain_begins_with_a_user if {
	every user in [null, {}, {"id": ""}, {"id": 1}] {
		chain := json.patch(_chain(_links(1)), [{"op": "replace", "path": "/subject/properties/user", "value": user}])
		found := _denials(chain)
		example.codes(found) == {"delegation/user-missing"}
	}
	found := _denials(example.lacking(_chain(_links(1)), "/subject/properties/user"))
	example.codes(found) == {"delegation/user-missing"}
}

test_the_depth_is_the_length if {
	every depth in [1, -1, "0", null, 0.5] {
		found := _denials(example.changed({"/subject/properties/delegation_depth": depth}))
		"delegation/incomplete" in example.codes(found)
	}
	found := _denials(example.changed({"/subject/properties/delegation": _links(1)}))
	"delegation/incomplete" in example.codes(found)
}

test_a_chain_that_says_it_has_no_depth_is_no_direct_call if {
	found := _denials(example.changed({"/subject/properties/delegation": _links(1), "/subject/properties/user": null}))
	example.codes(found) == {"delegation/incomplete", "delegation/user-missing"}
}

test_a_depth_that_is_no_number_is_too_deep if {
	every depth in ["0", null, true, [], {}] {
		found := _denials(example.changed({"/subject/properties/delegation_depth": depth}))
		"delegation/depth" in example.codes(found)
	}
}

test_missing_and_malformed_facts_are_refused if {
	every fact in ["delegation", "delegation_depth"] {
		found := _denials(example.without(concat("/", ["/subject/properties", fact])))
		"delegation/incomplete" in example.codes(found)
	}
	"delegation/incomplete" in _codes([{"issuer": "https://idp.example"}])
	"delegation/incomplete" in _codes(["agent"])
	"delegation/incomplete" in _codes([{"id": ""}])
	"delegation/incomplete" in _codes([{"id": "a", "issuer": "i"}, {"issuer": "i"}])
	table := _denials(_chain({"0": {"id": "agent"}}))
	"delegation/incomplete" in example.codes(table)
}
