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

test_credentials_in_the_results_of_some_are_concealed if {
	conceal := {"id": "conceal_credentials", "properties": {}}
	every patterns in [["files/*"], ["mail/*", "files/read_file"], ["*"]] {
		found := _required(example.call) with data.gateway.settings.concealed as patterns
		found == {conceal}
	}
	resource := example.changed({"/resource": example.note})
	of_resource := _required(resource) with data.gateway.settings.concealed as ["files/file:*"]
	of_resource == {conceal}
	both := _required(example.changed({"/resource/properties/effect": "mint"})) with data.gateway.settings.concealed as ["*"]
	{item.id | some item in both} == {"conceal_credentials", "limit"}
}

test_the_results_of_others_are_shown if {
	found := _required(example.call) with data.gateway.settings.concealed as ["mail/*", "files/write_*"]
	found == set()
}

test_without_a_list_all_are_concealed if {
	every broken in ["files/*", null, {}] {
		not obligations.shown(example.call) with data.gateway.settings.concealed as broken
	}
	not obligations.shown(example.call) with data.gateway.settings as {}
	not obligations.shown(example.without("/resource/id")) with data.gateway.settings.concealed as ["mail/*"]
}

test_far_reaching_calls_are_kept_short if {
	found := _required(example.changed({"/resource/properties/effect": "destructive"}))
	found == {{"id": "limit", "properties": {"timeout_seconds": 30, "max_bytes": 1048576}}}
}
