package gateway.obligations_test

import data.gateway.obligations
import data.gateway.testing.example_test as example

_required(call) := required if required := obligations.required with input as call

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

_with(settings) := object.union(object.remove(data.gateway.settings, object.keys(settings)), settings)

test_a_list_that_is_lost_labels_every_result if {
	label := {"id": "label", "properties": {"confidentiality": "internal"}}
	every lost in [null, "restricted", {"confidential": true}] {
		settings := _with({"labelled_sensitivities": lost})
		found := _required(example.call) with data.gateway.settings as settings
		found == {label}
	}
	settings := object.remove(data.gateway.settings, ["labelled_sensitivities"])
	found := _required(example.call) with data.gateway.settings as settings
	found == {label}
	none := _required(example.call) with data.gateway.settings.labelled_sensitivities as []
	none == set()
}

test_one_look_says_what_the_rules_say if {
	limits := {"read": false, "write": {"timeout_seconds": 1}, "exec": {"max_bytes": 1}}
	every concealed in [[], ["files/*"], ["mail/*"]] {
		settings := _with({"call_limits": limits, "concealed": concealed})
		every effect in ["read", "write", "destructive", "exec"] {
			every sensitivity in ["public", "confidential", "restricted"] {
				call := example.changed({
					"/resource/properties/effect": effect,
					"/resource/properties/sensitivity": sensitivity,
				})
				found := _required(call) with data.gateway.settings as settings
				ids := {item.id | some item in found}
				count(ids & {"limit"}) == count({effect} & {"read", "write", "exec"})
				count(ids & {"label"}) == count({sensitivity} - {"public"})
				count(ids & {"conceal_credentials"}) == count({concealed} & {["files/*"]})
			}
		}
	}
}
