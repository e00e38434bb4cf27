package gateway.denials.fact_test

import data.gateway.denials.fact
import data.gateway.testing.example_test as example

_codes(call) := example.codes(found) if found := fact.denials with input as call

test_a_call_without_declared_facts_is_not_refused if _codes(example.call) == set()

test_whole_facts_refuse_nothing if {
	_codes(object.union(example.call, {"facts": {"refunded": 400}, "facts_before": {}})) == set()
	_codes(object.union(example.call, {"facts_incomplete": []})) == set()
}

test_an_incomplete_fact_refuses if {
	_codes(object.union(example.call, {"facts_incomplete": ["refunded"]})) == {"fact/incomplete"}
}

test_a_fact_of_another_form_refuses if {
	_codes(object.union(example.call, {"facts_incomplete": "refunded"})) == {"fact/incomplete"}
	_codes(object.union(example.call, {"facts_incomplete": null})) == {"fact/incomplete"}
}
