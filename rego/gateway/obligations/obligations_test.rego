package gateway.obligations_test

import data.gateway.obligations
import data.gateway.testing.example_test as example

# One look and a close one say the same.
_required(call) := required if {
	required := obligations.required with input as call
	found := obligations.of(call) with input as call
	found == sort(required)
}

test_an_ordinary_call_has_none if {
	found := _required(example.call)
	found == set()
}

test_sensitive_results_label_the_task if {
	found := _required(example.changed({"/resource/properties/sensitivity": "restricted"}))
	found == {{"id": "label", "properties": {"confidentiality": "restricted"}}}
}

test_far_reaching_calls_are_kept_short if {
	found := _required(example.changed({"/resource/properties/effect": "destructive"}))
	found == {{"id": "limit", "properties": {"timeout_seconds": 30, "max_bytes": 1048576}}}
}
