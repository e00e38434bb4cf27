package gateway.denials.effect_test

import data.gateway.denials.effect
import data.gateway.testing.example_test as example

test_a_call_without_an_earlier_one_passes if {
	found := _decided({})
	found == {"denials": set(), "asks": set()}
}

test_a_repeated_effect_is_refused if {
	every state in ["open", "done", "unknown"] {
		found := _decided(_repeats(state))
		{one.code | some one in found.denials} == {"effect/repeated"}
		found.asks == set()
	}
}

test_a_state_in_the_list_asks if {
	found := _decided(_repeats("unknown")) with data.gateway.settings.repeats_that_ask as ["unknown"]
	found.denials == set()
	{one.code | some one in found.asks} == {"effect/repeated"}
	done := _decided(_repeats("done")) with data.gateway.settings.repeats_that_ask as ["unknown"]
	{one.code | some one in done.denials} == {"effect/repeated"}
}

test_a_lost_list_refuses if {
	every lost in [null, {}, "unknown", 7] {
		found := _decided(_repeats("unknown")) with data.gateway.settings.repeats_that_ask as lost
		{one.code | some one in found.denials} == {"effect/repeated"}
		found.asks == set()
	}
}

test_an_earlier_call_that_cannot_be_read_refuses if {
	every odd in [null, false, 7, {}, {"state": "settled"}, "done"] {
		found := _decided({"/context/repeats": odd})
		{one.code | some one in found.denials} == {"effect/repeated"}
	}
}

_repeats(state) := {"/context/repeats": {"call": "c-1", "state": state, "at": "2026-11-24T09:30:00Z"}}

_decided(changes) := {"denials": denials, "asks": asks} if {
	call := example.changed(changes)
	denials := effect.denials with input as call
	asks := effect.asks with input as call
}
