# METADATA
# scope: package
# title: What untrusted data does with a task
# description: |
#   Untrusted data in, confidential data in, and a call that changes or sends something: two of the three may be
#   (Meta, "Agents Rule of Two", 2025); for all three a person decides. And a value that gives authority must come from
#   somebody who has it. See docs/policy/history.md.
# schemas:
#   - input: schema.input
package gateway.denials.toxic_flow

import data.gateway.lib.reach
import data.gateway.lib.sources

# METADATA
# title: History does not know what the task has read
# custom:
#   code: toxic-flow/incomplete
#   message: The gateway does not know what this task has read, or where the values of this call came from.
#   remedy: Send smaller arguments if they are very large; else an operator should check the history of the gateway.
#   controls: [ASI01, MCP06]
denials contains {"code": "toxic-flow/incomplete", "facts": sort(_unknown)} if _unknown != set()

# METADATA
# title: Confidential data may leave under foreign influence
# custom:
#   code: toxic-flow/exfiltration
#   message: >-
#     The task has read something untrusted and something confidential, and this call would change or send something.
#   remedy: >-
#     Ask a person who may approve it. What other tasks of the same user have read counts too, for some hours
#     (`history.warm`), so another task alone does not help.
#   controls: [ASI01, ASI02, ASI06, MCP06, MCP10]
asks contains {"code": "toxic-flow/exfiltration", "facts": _exfiltration_facts} if {
	not input.session.labels.untrusted == false
	not _open
	not reach.reads_only(input)
	not _returns
	not _repeats_goal
	not _stays_in_sandbox(input)
}

# METADATA
# title: A value of authority has no source that may give it
# custom:
#   code: toxic-flow/ungrounded
#   message: >-
#     The task has read untrusted data. The call names a destination, a link, a command, an amount or a record that
#     neither the goal, the contract nor a trusted source gave.
#   remedy: Ask a person who may approve it, or open a task whose goal or contract names the value.
#   controls: [ASI01, ASI02, ASI05, ASI09, MCP06]
asks contains {"code": "toxic-flow/ungrounded", "facts": array.concat(_unread_labels(roles), [argument])} if {
	not input.session.labels.untrusted == false
	some pointer in input.session.ungrounded
	roles := sources.roles(input, pointer)
	not _excused(roles)
	not _followed(pointer, roles)
	not _from_records(pointer)
	argument := concat("", ["/arguments", pointer])
}

# A read needs no source for what is no command.
_unread_labels(roles) := reach.missing_labels(input) if {
	_without_command(roles)
} else := []

_exfiltration_facts := array.concat(
	reach.missing_labels(input),
	["/session/call_destinations", "/session/confidential_systems", "/session/labels"],
)

# Confidential data goes back to the one system that it came from. The operator has labelled the tool as one by which
# nothing leaves, and has said of each argument what it means.
_returns if {
	input.resource.type == "tool"
	input.resource.properties.effect in ["write", "destructive"]
	input.resource.properties.egress == false
	input.session.confidential_systems == [_called_system]

	# Nobody knows what is behind an aggregator without a depth.
	is_number(input.session.depth)
	is_array(input.session.ungrounded)
	every pointer in input.session.ungrounded {
		_stays(pointer)
	}
	every name, _ in input.arguments {
		input.resource.properties.roles[concat("", ["/", _escaped(name)])]
	}
}

# The call says nothing but what the goal says, so nothing that was read goes with it. What leaves has to be in
# quotation marks, for the goal may name a password for another place. It selects no record, which would leave whole.
_repeats_goal if {
	input.session.dictated == "quotes"
} else if {
	input.session.dictated == "words"
	reach.stays_inside(input)
}

_called_system := object.filter(input.resource.properties, ["audience", "tenant", "environment"])

_escaped(name) := replace(replace(name, "~", "~0"), "/", "~1")

# A link in a text may lead its reader away, whoever the reader is.
_stays(pointer) if {
	sources.roles(input, pointer) == {"credential"}
} else if {
	sources.roles(input, pointer) == {"destination"}
	reach.names_trusted(input)
} else if {
	_from_records(pointer)
}

_from_records(pointer) if {
	sources.unread_record(input, pointer)
} else if {
	sources.recorded_place(input, pointer)
}

# A destination among the arguments would be a way out.
_stays_in_sandbox(call) if {
	reach.in_sandbox(call)
	call.session.call_destinations == []
}

_open if input.session.labels.confidentiality in ["public", "internal"]

# Credentials have a family of their own. A command is run whatever the label of its tool says.
_excused(roles) if {
	roles == {"credential"}
} else if {
	roles == {"destination"}
	reach.names_trusted(input)
} else if {
	_without_command(roles)
	_unread(roles)
}

# Whoever reads a page tells its host which page, and no more, where the address is one that the task was pointed at and
# all that the call says.
_followed(pointer, roles) if {
	data.gateway.settings.follow_links == true
	roles == {"destination"}
	pointer in input.session.followed
	input.resource.type == "tool"
	input.resource.properties.effect == "read"
}

# Nobody is told, or nobody who would follow a link.
_unread(roles) if {
	reach.reads_only(input)
} else if {
	roles == {"content"}
	reach.stays_inside(input)
}

_without_command(roles) if {
	roles != set()
	not "command" in roles
}

_known contains "/session/ungrounded" if is_array(input.session.ungrounded)

_known contains "/session/labels/untrusted" if is_boolean(input.session.labels.untrusted)

_known contains "/session/labels/confidentiality" if {
	data.gateway.settings.sensitivities[input.session.labels.confidentiality] >= 0
}

_unknown := {"/session/ungrounded", "/session/labels/untrusted", "/session/labels/confidentiality"} - _known
