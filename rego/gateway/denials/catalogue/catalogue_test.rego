package gateway.denials.catalogue_test

import data.gateway.denials.catalogue
import data.gateway.testing.example_test as example

_denials(call) := denials if denials := catalogue.denials with input as call

_codes(pin) := example.codes(found) if {
	found := _denials(example.changed({"/resource/properties/pin": pin}))
}

test_a_pinned_tool_is_not_refused if _codes("match") == set()

test_a_changed_tool_is_refused if _codes("changed") == {"catalogue/changed"}

test_an_unknown_tool_is_refused if _codes("unknown") == {"catalogue/unknown"}

test_an_unpinned_tool_is_refused_unless_policy_says_otherwise if {
	_codes("unpinned") == set()
	every setting in ["deny", null, true, "Allow"] {
		found := _denials(example.changed({"/resource/properties/pin": "unpinned"})) with data.gateway.denials.catalogue.unpinned as setting
		example.codes(found) == {"catalogue/unpinned"}
	}
}

test_a_tool_that_only_a_person_may_pin_is_refused_whatever_policy_says if {
	_codes("unreviewed") == {"catalogue/unpinned"}
	every setting in ["allow", "deny", null] {
		found := _denials(example.changed({"/resource/properties/pin": "unreviewed"})) with data.gateway.denials.catalogue.unpinned as setting
		example.codes(found) == {"catalogue/unpinned"}
	}
}

test_a_tool_without_a_pin_is_refused if {
	every pin in [null, "", "Match", true] {
		_codes(pin) == {"catalogue/unverified"}
	}
	found := _denials(example.without("/resource/properties/pin"))
	example.codes(found) == {"catalogue/unverified"}
}

test_what_has_no_definition_needs_no_pin if {
	found := _denials(example.changed({"/resource": example.note}))
	found == set()
	not catalogue.hides(example.note)
}

_prompt(properties) := object.union(example.note, {"type": "prompt", "properties": properties})

test_a_prompt_needs_a_pin_as_a_tool_does if {
	expected := {
		"match": set(),
		"unpinned": set(),
		"changed": {"catalogue/changed"},
		"unknown": {"catalogue/unknown"},
		"unreviewed": {"catalogue/unpinned"},
		"Match": {"catalogue/unverified"},
	}
	every pin, codes in expected {
		found := _denials(example.changed({"/resource": _prompt({"pin": pin})}))
		example.codes(found) == codes
	}
	every pin in ["match", "unpinned"] {
		not catalogue.hides(_prompt({"pin": pin}))
	}
	every pin in ["changed", "unknown", "unreviewed", "Match"] {
		catalogue.hides(_prompt({"pin": pin}))
	}
}

test_a_prompt_without_a_pin_is_refused if {
	found := _denials(example.changed({"/resource": _prompt({})}))
	example.codes(found) == {"catalogue/unverified"}
	catalogue.hides(_prompt({}))
}

test_lists_hide_what_would_be_refused if {
	every pin in ["changed", "unreviewed", "unknown", null] {
		catalogue.hides(object.union(example.tool, {"properties": {"pin": pin}}))
	}
	not catalogue.hides(example.tool)
	unpinned := object.union(example.tool, {"properties": {"pin": "unpinned"}})
	not catalogue.hides(unpinned)
	catalogue.hides(unpinned) with data.gateway.denials.catalogue.unpinned as "deny"
}
