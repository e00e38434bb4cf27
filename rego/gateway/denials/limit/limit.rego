# METADATA
# scope: package
# title: What a user or an agent may do over all its tasks
# description: |
#   Numbers of a day, the call included, as `gateway/facts.yaml` declares them. Another task or another agent of the
#   same user begins no other number. Only a call that raises a number is stopped. See docs/policy/limits.md.
# schemas:
#   - input: schema.input
package gateway.denials.limit

# METADATA
# title: Too many calls in a day
# custom:
#   code: limit/calls
#   message: The user, or the agent where it acts for nobody, has made too many calls in a day.
#   remedy: >-
#     Ask a person who may approve more for this task, or wait. Beyond the hard limit only an operator can help:
#     `limits.user.calls` in gateway.yaml, or `limits.agent.calls` for an agent without a user.
#   controls: [ASI02, ASI08, ASI10]
denials contains {"code": "limit/calls", "facts": ["/facts/party_calls"]} if "calls" in _above_hard

# METADATA
# title: Too many writes in a day
# custom:
#   code: limit/writes
#   message: The user, or the agent where it acts for nobody, has changed too much in a day.
#   remedy: >-
#     Ask a person who may approve more for this task, or wait. Beyond the hard limit only an operator can help:
#     `limits.user.writes` in gateway.yaml, or `limits.agent.writes` for an agent without a user.
#   controls: [ASI02, ASI08]
denials contains {"code": "limit/writes", "facts": ["/facts/party_writes"]} if "writes" in _above_hard

# METADATA
# title: The same call again and again
# custom:
#   code: limit/repeats
#   message: The same call with the same arguments was made too often in a day.
#   remedy: >-
#     Ask a person who may approve more for this task, or wait. Beyond the hard limit only an operator can help:
#     `limits.user.repeats` in gateway.yaml, or `limits.agent.repeats` for an agent without a user.
#   controls: [ASI02, ASI08, ASI10]
denials contains {"code": "limit/repeats", "facts": ["/facts/party_repeats"]} if "repeats" in _above_hard

# METADATA
# title: Too large amounts in a day
# custom:
#   code: limit/amount
#   message: The amounts of a day in this system are too large.
#   remedy: >-
#     Ask a person who may approve more for this task, or wait. Beyond the hard limit only an operator can help:
#     `limits.user.amount` in gateway.yaml, or `limits.agent.amount` for an agent without a user.
#   controls: [ASI02, ASI08]
denials contains {"code": "limit/amount", "facts": ["/facts/party_amount"]} if "amount" in _above_hard

# METADATA
# title: Too many systems in a day
# custom:
#   code: limit/systems
#   message: The user, or the agent where it acts for nobody, writes to too many systems in a day.
#   remedy: >-
#     Ask a person who may approve more for this task, or wait. Beyond the hard limit only an operator can help:
#     `limits.user.systems` in gateway.yaml, or `limits.agent.systems` for an agent without a user.
#   controls: [ASI02, ASI08, MCP06]
denials contains {"code": "limit/systems", "facts": ["/facts/party_systems"]} if "systems" in _above_hard

# METADATA
# title: Too many destinations in a day
# custom:
#   code: limit/destinations
#   message: The user, or the agent where it acts for nobody, sends to too many destinations in a day.
#   remedy: >-
#     Ask a person who may approve more for this task, or wait. Beyond the hard limit only an operator can help:
#     `limits.user.destinations` in gateway.yaml, or `limits.agent.destinations` for an agent without a user.
#   controls: [ASI02, ASI08, MCP10]
denials contains {"code": "limit/destinations", "facts": ["/facts/party_destinations"]} if "destinations" in _above_hard

# METADATA
# title: A person decides whether a user or an agent may do so much
# description: Under the codes of the rules above, whose soft limits these are. A yes holds for the task.
asks contains {"code": code, "facts": [fact], "limits": {concat(".", [_owner, name]): shown}} if {
	some name, number in _raised
	not _is_within_soft(name, number)
	code := _codes[name]
	fact := concat("_", ["/facts/party", name])
	shown := _shown(name, number)
}

_codes := {
	"amount": "limit/amount",
	"calls": "limit/calls",
	"destinations": "limit/destinations",
	"repeats": "limit/repeats",
	"systems": "limit/systems",
	"writes": "limit/writes",
}

# The numbers that this call raises. A fact that counts no such call is as it was before.
_raised["calls"] := input.facts.party_calls if not input.facts.party_calls == input.facts_before.party_calls

_raised["writes"] := input.facts.party_writes if not input.facts.party_writes == input.facts_before.party_writes

_raised["repeats"] := input.facts.party_repeats if not input.facts.party_repeats == input.facts_before.party_repeats

_raised["amount"] := input.facts.party_amount if not input.facts.party_amount == input.facts_before.party_amount

_raised["systems"] := input.facts.party_systems if not input.facts.party_systems == input.facts_before.party_systems

_raised["destinations"] := input.facts.party_destinations if {
	not input.facts.party_destinations == input.facts_before.party_destinations
}

_above_hard contains name if {
	some name, number in _raised
	not _is_within_hard(name, number)
}

# A limit that is no number lets nothing pass.
_is_within_hard(name, number) if {
	hard := _limits[name].hard
	is_number(hard)
	number <= hard
}

# A person may have approved as much for this task before.
_is_within_soft(name, number) if {
	soft := _limits[name].soft
	is_number(soft)
	number <= soft
} else if {
	approved := input.session.approved[concat(".", [_owner, name])]
	is_number(approved)
	number <= approved
}

# Each call would ask again if an approval held for one more. It holds for as many again as pass unasked, and never
# beyond the hard limit.
_shown(name, number) := ceil(min({hard, number + soft})) if {
	hard := _limits[name].hard
	is_number(hard)
	soft := _limits[name].soft
	is_number(soft)
} else := ceil(number)

default _owner := "agent"

_owner := "user" if is_object(input.subject.properties.user)

_limits := data.gateway.settings.user_limits if {
	_owner == "user"
} else := data.gateway.settings.agent_limits
