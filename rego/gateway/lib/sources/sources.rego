# METADATA
# scope: package
# title: Where a value of a call came from
package gateway.lib.sources

# METADATA
# title: The roles of a place in the arguments and of all places above it
roles(call, pointer) := {role |
	some labelled, role in call.resource.properties.roles
	startswith(concat("", [pointer, "/"]), concat("", [labelled, "/"]))
}

# METADATA
# title: No untrusted result has shown the value of this record
# description: The user may have named it beside the goal. A setting turns this off.
unread_record(call, pointer) if {
	data.gateway.settings.unread_records == true
	pointer in call.session.unread
	roles(call, pointer) - {"selector"} == {"record"}
}

# METADATA
# title: The destination stands in a record of the called system, and nothing leaves the system
# description: |
#   The record has a word of the goal, or the task made it. An address of the user's own order is such a place.
recorded_place(call, pointer) if {
	pointer in call.session.recorded
	roles(call, pointer) - {"selector"} == {"destination"}
	properties := call.resource.properties
	properties.effect in ["write", "destructive"]
	properties.egress == false
	call.resource.type == "tool"
}
