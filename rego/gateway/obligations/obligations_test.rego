package gateway.obligations_test

import data.gateway.obligations
import data.gateway.testing.example_test as example

test_an_ordinary_call_has_none if {
	found := obligations.required with input as example.call
	found == set()
}

test_sensitive_results_label_the_task if {
	found := obligations.required with input as example.changed({"/resource/properties/sensitivity": "restricted"})
	found == {{"id": "label", "properties": {"confidentiality": "restricted"}}}
}

test_far_reaching_calls_are_kept_short if {
	found := obligations.required with input as example.changed({"/resource/properties/effect": "destructive"})
	found == {{"id": "limit", "properties": {"timeout_seconds": 30, "max_bytes": 1048576}}}
}
