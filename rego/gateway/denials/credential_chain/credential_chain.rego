# METADATA
# scope: package
# title: Credentials that are carried on
# description: |
#   `input.session.credentials` are those found in the arguments, each with the place that it came from. Showing one to
#   the system that it came from passes. A person may approve one step of a credential that the call shows. Chains, what
#   the task made itself, and what leaves for a place that nobody named are refused. See docs/policy/history.md.
# schemas:
#   - input: schema.input
package gateway.denials.credential_chain

import data.gateway.lib.declared
import data.gateway.lib.letters
import data.gateway.lib.patterns
import data.gateway.lib.pointers
import data.gateway.lib.reach

# METADATA
# title: History does not know which credentials the call carries
# custom:
#   code: credential-chain/incomplete
#   message: The gateway does not know which credentials are in this call.
#   remedy: Send smaller arguments if they are very large; else an operator should check the history of the gateway.
#   controls: [ASI03, NHI2, MCP01]
denials contains {"code": "credential-chain/incomplete", "facts": ["/session/credentials"]} if {
	not _looked_at(input)
}

# METADATA
# title: A credential of one system is shown to another
# custom:
#   code: credential-chain/presentation
#   message: The call carries a credential that another system answered with.
#   remedy: >-
#     Use the credential only where it came from, or ask a person who may approve it. Nobody can approve a handle
#     (cred://…) or a credential that the task made. For the latter a contract can declare the flow.
#   controls: [ASI03, NHI2, NHI9, MCP01]
denials contains {"code": "credential-chain/presentation", "facts": _facts(i, held)} if {
	some i, held in _held
	_from_elsewhere(held)
	not _may_be_shown(held)
	not _has_own_rule(held)
}

# METADATA
# title: A credential is about to be written down or sent out
# custom:
#   code: credential-chain/egress
#   message: The call would write a credential down, or send it out, where no credential belongs.
#   remedy: >-
#     Leave the credential out. If the argument is meant for one, an operator can label it so in the configuration. A
#     person may approve it for a destination that the goal, the contract or the operator names.
#   controls: [ASI03, NHI2, MCP01, MCP10]
denials contains {"code": "credential-chain/egress", "facts": array.concat(_labels(held), _facts(i, held))} if {
	some i, held in _held
	_goes_astray(held)
	not _has_own_rule(held)
}

# METADATA
# title: A credential is made
# custom:
#   code: credential-chain/mint
#   message: The call makes a credential, or would with a credential that was itself made in this task.
#   remedy: Ask a person who may approve it. With a credential that this task made, nobody can.
#   controls: [ASI03, ASI10, NHI5, NHI7, MCP02]
denials contains {"code": "credential-chain/mint", "facts": [
	"/resource/properties/effect",
	"/session/credentials",
]} if {
	input.resource.properties.effect == "mint"
	some held in _held
	not held.minted_in_task == false
	not _one_time_code(held)
}

# METADATA
# title: A credential comes from too long a chain
# custom:
#   code: credential-chain/lineage
#   message: The credential comes from a chain of credentials, or is one that the gateway gave to nobody.
#   remedy: Get the credential from the user, or let the gateway issue it.
#   controls: [ASI03, NHI5, NHI7, NHI9, MCP02]
denials contains {"code": "credential-chain/lineage", "facts": _facts(i, held)} if {
	some i, held in _held
	_carried(held)
	not _short(held)
	not _has_own_rule(held)
}

# METADATA
# title: A credential of the gateway is in the hands of an agent
# description: |
#   What the gateway issues, it puts into the request itself. Depth, scope, lifetime and subject of one that an agent
#   holds are not known, so none of them is within its bounds.
denials contains {"code": "credential-chain/lineage", "facts": _facts(i, held)} if {
	some i, held in _held
	held.origin.kind == "broker"
}

# METADATA
# title: A person decides on one step of a credential from system to system
asks contains {"code": "credential-chain/presentation", "facts": array.concat(_facts(i, held), _route(held))} if {
	some i, held in _held
	_from_elsewhere(held)
	_may_be_shown(held)
	not _has_own_rule(held)
}

# METADATA
# title: A person decides on a credential for a place that is named
asks contains {"code": "credential-chain/egress", "facts": facts} if {
	some i, held in _held
	_misplaced(held)
	not _goes_astray(held)
	not _has_own_rule(held)
	places := array.concat(_facts(i, held), _route(held))
	facts := array.concat(_labels(held), places)
}

# METADATA
# title: A person decides on a plain word that a system named as a credential
# description: |
#   Otherwise one line of a ticket, `secret: customer_4711_eu1`, would keep this name from all other systems.
# custom:
#   code: credential-chain/plain-word
#   message: The call carries a word that a system named as a credential, and that the task knows from elsewhere.
#   remedy: Ask a person who may approve it, or leave the word out. It may be a name, or a password that reads as one.
#   controls: [ASI03, NHI2, MCP01]
asks contains {"code": "credential-chain/plain-word", "facts": _facts(i, held)} if {
	some i, held in _held
	_plain_word(held)
	not _one_time_code(held)
	_is_carried_on(held)
}

# METADATA
# title: A person decides on a one-time code, unless the called system waits for it
# description: |
#   A code arrives in one system for use at another. The system waits for a code if it requested one in this task, and
#   this code alone has arrived since. The code has to stand in an argument for a credential.
# custom:
#   code: credential-chain/one-time-code
#   message: The call carries a one-time code, and history does not show that this system waits for it.
#   remedy: >-
#     Have the system send a code in this task first, and then read one code. Send it in an argument for a credential,
#     and nowhere else. Or ask a person who may approve it.
#   controls: [ASI03, NHI2, MCP01]
asks contains {"code": "credential-chain/one-time-code", "facts": _facts(i, held)} if {
	some i, held in _held
	_one_time_code(held)
	_is_carried_on(held)
	not _is_expected(held)
}

# METADATA
# title: A person decides on a new credential
# description: Unless people approved the task with a contract that declares it.
asks contains {"code": "credential-chain/mint", "facts": ["/resource/properties/effect"]} if {
	input.resource.properties.effect == "mint"
	not declared.effect_agreed(input)
}

# METADATA
# title: A login as somebody else
# custom:
#   code: credential-chain/identity-switch
#   message: The call logs in as somebody else than the user of the task, and the goal does not give this account.
#   remedy: Log in as the user whom the task is for, or as the account that the goal gives, or ask a person.
#   controls: [ASI03, NHI9, NHI10, MCP02]
asks contains {"code": "credential-chain/identity-switch", "facts": [concat("/", ["/arguments", name])]} if {
	_logs_in
	arguments := pointers.opened(input.arguments)
	walk(arguments, [path, value])
	every step in path {
		is_string(step)
	}
	_says_whom(path[count(path) - 1])
	not _own_name(input, value)
	name := path[0]
}

# METADATA
# title: Nobody knows where a credential came from
# custom:
#   code: credential-chain/unknown
#   message: The call carries a credential that neither the user nor a system gave to this task.
#   remedy: Ask a person who may approve it, have the user give it in this task, or let the gateway issue it.
#   controls: [ASI03, NHI2, NHI7, MCP01]
asks contains {"code": "credential-chain/unknown", "facts": _facts(i, held)} if {
	some i, held in _held
	not _from_known(held)
}

# The gateway never says so of a value in the form of a secret.
_plain_word(held) if {
	held.plain_word == true
	held.handle == false
}

_one_time_code(held) if {
	held.one_time == true
	held.handle == false
}

_has_own_rule(held) if {
	_plain_word(held)
} else if {
	_one_time_code(held)
}

_is_expected(held) if {
	held.requested == true
	held.role == "credential"
	input.session.call_destinations == []
} else if {
	held.requested == true
	held.role == "credential"
	_place_is_named
}

_is_carried_on(held) if {
	_from_elsewhere(held)
} else if _misplaced(held)

_looked_at(call) if is_array(call.session.credentials)

_from_known(held) if held.origin.kind in ["result", "broker", "user"]

_from_elsewhere(held) if {
	held.origin.kind == "result"
	not held.origin.audience == input.resource.properties.audience
}

# A handle is put back nowhere else, whatever the contract says and a person approves.
_may_be_shown(held) if {
	held.handle == false
	_is_one_step(held)
	not _goes_astray(held)
}

_is_one_step(held) if {
	held.minted_in_task == false
	is_string(held.origin.audience)
} else if {
	_is_declared(held)
}

_is_declared(held) if {
	some flow in input.context.task.contract.credential_flows
	flow.from == held.origin.audience
	flow.to == input.resource.properties.audience
}

_misplaced(held) if {
	held.role in ["content", "destination"]
} else if {
	not held.role == "credential"
	not reach.reads_only(input)
}

# A credential that is known leaves only for a place that somebody with authority named. What is written into a system
# may be read there by anybody, so the system that showed it is no such place by itself.
_goes_astray(held) if {
	_misplaced(held)
	not _may_be_placed(held)
} else if {
	_from_elsewhere(held)
	not input.session.call_destinations == []
	not _place_is_named
	not _is_pointed_at(held)
}

_may_be_placed(held) if {
	held.minted_in_task == false
	_short(held)
	not _from_known(held)
} else if {
	held.minted_in_task == false
	_short(held)
	_place_is_named
} else if {
	held.minted_in_task == false
	_short(held)
	_is_pointed_at(held)
} else if {
	held.minted_in_task == false
	_short(held)
	_stays_with_user(held)
} else if {
	held.minted_in_task == false
	_short(held)
	_is_unlabelled(held)
}

# Nobody has said what the tool and the argument do, and the user gave the credential. A person may know. What a system
# showed may be read there by others once it is written back, so no missing label excuses it.
_is_unlabelled(held) if {
	_labels(held) != []
	not held.role
	held.origin.kind == "user"
}

# A tool that only reads may be sent a credential in any argument that neither is a content nor leads elsewhere.
_labels(held) := [] if {
	held.role in ["content", "destination"]
} else := reach.missing_labels(input)

# The user gave it in the goal, and nothing leaves by the tool. A person knows whether it belongs into the text or code.
_stays_with_user(held) if {
	held.origin.kind == "user"
	not held.role == "destination"
	input.resource.type == "tool"
	_keeps_inside
	input.session.call_destinations == []
	_without_source == set()
}

_keeps_inside if {
	input.resource.properties.effect in ["write", "destructive"]
	input.resource.properties.egress == false
}

_keeps_inside if reach.in_sandbox(input)

# The goal names the source and the record that the call selects. A destination or link without a source is no such
# place.
_is_pointed_at(held) if {
	held.pointed_at == true
	_without_source == set()
}

_place_is_named if {
	destinations := input.session.call_destinations
	is_array(destinations)
	destinations != []
	_without_source == set()
} else if {
	input.session.call_destinations == []
	reach.trusts_audience(input)
	_without_source == set()
}

# Destinations, links, commands and amounts of the call that nobody named. A link in a text leads elsewhere too.
_without_source := {pointer |
	some pointer in input.session.ungrounded
	not _is_excused(pointer)
} if {
	is_array(input.session.ungrounded)
}

_is_excused(pointer) if {
	input.resource.properties.roles[pointer] == "credential"
} else if {
	input.resource.properties.roles[pointer] == "destination"
	reach.names_trusted(input)
}

_held := input.session.credentials if is_array(input.session.credentials)

# The same system may hand out one token after the other, as for the pages of a list.
_carried(held) if {
	_from_elsewhere(held)
} else if {
	input.resource.properties.effect == "mint"
}

_short(held) if {
	longest := data.gateway.denials.credential_chain.max_chain_depth
	is_number(longest)
	is_number(held.chain_depth)
	longest - held.chain_depth >= 0
}

_logs_in if {
	not input.resource.properties.effect == "read"
	name := letters.lowered(input.resource.properties.tool)
	patterns.any_matches(data.gateway.settings.logins.tools, name)
} else if {
	input.resource.properties.effect == "mint"
	"credential" in input.resource.properties.roles
}

# Servers that are tolerant read `UserName` and `user-name` as `user_name`, and logins may be in an object of their own.
_says_whom(name) if letters.folded(name) in _login_names

_login_names contains letters.folded(name) if {
	some name in data.gateway.settings.logins.arguments
}

_own_name(call, value) if {
	letters.lowered(_name(value)) == letters.lowered(call.subject.properties.user.id)
} else if {
	name := letters.lowered(_name(value))
	some account in call.session.named_accounts
	name == letters.lowered(account)
}

_name(value) := value if {
	is_string(value)
} else := format_int(value, 10) if {
	is_number(value)
	value == floor(value)
}

_facts(i, held) := [concat("", ["/arguments", held.pointer]), _index(i)] if {
	is_string(held.pointer)
} else := ["/arguments", _index(i)]

_index(i) := concat("/", ["/session/credentials", format_int(i, 10)])

# Where a credential that the goal points at comes from and goes to.
_route(held) := array.concat([goal], sort(places)) if {
	held.pointed_at == true
	goal := "/context/task/goal"
	places := {concat("", ["/arguments", pointer]) |
		some pointer, role in input.resource.properties.roles
		role in ["selector", "destination"]
	}
} else := []
