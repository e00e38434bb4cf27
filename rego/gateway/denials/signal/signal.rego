# METADATA
# scope: package
# title: Denials about what an identity provider signalled
# description: |
#   An open signal says that something about the caller has become worse since its token was issued (CAEP 1.0). The
#   setting `signals` says which ask a person and which pass. All others refuse.
# schemas:
#   - input: schema.input
package gateway.denials.signal

# METADATA
# title: A signal ends what the caller may do
# custom:
#   code: signal/adverse
#   message: >-
#     The identity provider has signalled a change about the caller that ends its authority, such as an ended session.
#   remedy: Log in again on a device that your organisation accepts, and call with the new token.
#   controls: [ASI03, MCP07, NHI1]
denials contains {"code": "signal/adverse", "facts": sort(_adverse)} if refuses(input)

# METADATA
# title: A signal makes the caller less certain
# custom:
#   code: signal/doubtful
#   message: The identity provider has signalled a change about the caller, such as a risk that has grown.
#   remedy: Ask a person to approve the call, or log in again and call with the new token.
#   controls: [ASI03, ASI09, MCP07]
asks contains {"code": "signal/doubtful", "facts": sort(_doubtful)} if _doubtful != set()

# METADATA
# title: An open signal refuses everything
# description: For lists and for leases too. Signals that cannot be read refuse.
refuses(call) if {
	not _readable(call)
} else if {
	some signal in call.context.signals
	not _borne(signal)
}

_adverse contains sprintf("/context/signals/%d", [i]) if {
	is_array(input.context.signals)
	some i, signal in input.context.signals
	not _borne(signal)
}

_adverse contains "/context/signals" if not _readable(input)

_doubtful contains sprintf("/context/signals/%d", [i]) if {
	is_array(input.context.signals)
	some i, signal in input.context.signals
	_asks(signal)
	not _passes(signal)
}

_readable(call) if {
	is_array(call.context.signals)
	every signal in call.context.signals {
		is_string(signal.type)
	}
} else if {
	not call.context.signals
	not call.context.signals == false
}

# The signal does not refuse by itself.
_borne(signal) if {
	_asks(signal)
} else if {
	_passes(signal)
}

_asks(signal) if {
	is_array(data.gateway.settings.signals.ask)
	signal.type in data.gateway.settings.signals.ask
}

_passes(signal) if {
	is_array(data.gateway.settings.signals.pass)
	signal.type in data.gateway.settings.signals.pass
}
