package gateway.denials.signal_test

import data.gateway.denials.signal
import data.gateway.testing.example_test as example

_findings(call) := example.found(denials, asks) if {
	denials := signal.denials with input as call
	asks := signal.asks with input as call
}

_found(signals) := {[finding.code, finding.facts, object.get(finding, "asked", false)] | some finding in findings} if {
	findings := _findings(example.changed({"/context/signals": signals}))
}

_of(type) := {"type": type, "at": "2026-11-24T09:30:00Z"}

test_without_signals_nothing_is_refused if {
	found := _findings(example.call)
	found == set()
	_found([]) == set()
	call := example.call
	not signal.refuses(call)
}

test_an_ended_session_and_a_lost_device_refuse if {
	every type in ["session-revoked", "device-compliance-change", "something-new"] {
		_found([_of(type)]) == {["signal/adverse", ["/context/signals/0"], false]}
		signal.refuses(example.changed({"/context/signals": [_of(type)]}))
	}
}

test_a_doubt_asks_a_person if {
	every type in ["risk-level-change", "assurance-level-change", "credential-change", "token-claims-change"] {
		_found([_of(type)]) == {["signal/doubtful", ["/context/signals/0"], true]}
		call := example.changed({"/context/signals": [_of(type)]})
		not signal.refuses(call)
	}
}

test_the_worst_signal_counts if {
	_found([_of("risk-level-change"), _of("session-revoked")]) == {
		["signal/adverse", ["/context/signals/1"], false],
		["signal/doubtful", ["/context/signals/0"], true],
	}
}

test_an_operator_can_let_a_signal_pass if {
	lenient := {"ask": ["risk-level-change"], "pass": ["risk-level-change", "session-revoked"]}
	found := _found([_of("risk-level-change"), _of("session-revoked")]) with data.gateway.settings.signals as lenient
	found == set()
}

test_lost_settings_and_unreadable_signals_refuse if {
	every lost in [null, {"ask": null, "pass": "session-revoked"}] {
		found := _found([_of("risk-level-change")]) with data.gateway.settings.signals as lost
		found == {["signal/adverse", ["/context/signals/0"], false]}
	}
	every signals in [null, false, "x", {}, {"type": "risk-level-change"}, [7], [{"type": 7}]] {
		some finding in _found(signals)
		finding[0] == "signal/adverse"
		signal.refuses(example.changed({"/context/signals": signals}))
	}
}
