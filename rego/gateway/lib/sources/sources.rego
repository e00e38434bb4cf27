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
