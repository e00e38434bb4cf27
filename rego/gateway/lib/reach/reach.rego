# METADATA
# scope: package
# title: What a call can do beyond its target
package gateway.lib.reach

import data.gateway.lib.patterns

# METADATA
# title: The call names destinations, and the directory, the operator or the contract of the task trusts each of them
names_trusted(call) if {
	destinations := call.session.call_destinations
	is_array(destinations)
	destinations != []
	every destination in destinations {
		_is_trusted(call, destination)
	}
}

# METADATA
# title: The operator or the contract of the task trusts the system that is called
trusts_audience(call) if _is_trusted(call, call.resource.properties.audience)

_is_trusted(call, destination) if {
	destination in call.session.known_destinations
} else if {
	patterns.any_names(data.gateway.denials.toxic_flow.trusted_destinations, destination)
} else if {
	patterns.any_names(call.context.task.contract.destinations, destination)
}

# METADATA
# title: The call only reads, and nothing leaves with it
# description: |
#   A tool that is labelled so. Reading a resource and getting a prompt are reads too, unless the URI is one of the web,
#   or has one in it: whatever is in such a URI goes to the host that it names.
reads_only(call) if {
	properties := call.resource.properties
	properties.effect == "read"
	properties.egress == false
	call.resource.type == "tool"
} else if {
	call.resource.type == "prompt"
} else if {
	call.resource.type == "resource"
	uri := substring(call.resource.id, count(call.resource.properties.upstream) + 1, -1)
	not _names_web(uri)
}

_names_web(uri) if {
	shown := regex.replace(uri, `[\x00-\x20]`, "")
	regex.match(_web, shown)
}

# Also after another scheme (`view-source:https:`) or in a template (`page://{url}`).
_web := `(?i)(^|[^a-z0-9])(https?|wss?|s?ftps?)(:|%(25)*3a)`

# METADATA
# title: The call works inside a sandbox of the task, and nothing leaves with it
# description: The operator labels such a tool. It may run code and destroy there; no credential is made there.
in_sandbox(call) if {
	properties := call.resource.properties
	properties.sandbox == true
	properties.egress == false
	call.resource.type == "tool"
	properties.effect in ["read", "write", "destructive", "exec"]
}

# METADATA
# title: Nothing of the call leaves the systems that the gateway knows
stays_inside(call) if {
	call.resource.properties.egress == false
} else if {
	reads_only(call)
}

# METADATA
# title: The labels of a tool that nobody set, and that a call may be held for
# description: |
#   As facts. The gateway takes such a tool for one that writes and sends. A finding that a label could spare names the
#   label, so that the refusal can say first where to set it.
missing_labels(call) := [concat("/", ["/resource/properties", label]) |
	some label in ["effect", "egress"]
	label in call.resource.properties.assumed
]
