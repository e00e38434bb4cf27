# METADATA
# scope: package
# title: What the class of an agent, the risk of its task and the sensitivity of a target bound
# description: |
#   The settings give agents a class (`classes`), and rows of bounds for a class, a risk and a sensitivity (`bounds`).
#   All rows that fit hold at once, and the strictest counts. Without `classes` no row holds. A caller that no entry
#   fits has the narrowest class, and so has each caller if the list is lost. docs/policy/classes.md has the table.
# schemas:
#   - input: schema.input
package gateway.bounds

import data.gateway.lib.patterns

# METADATA
# title: The classes, from narrow to wide
classes := ["retrieval", "operator", "privileged"]

# METADATA
# scope: document
# title: The class of the caller, or an empty text if the settings give no classes
# description: The first entry that fits counts.
default class := "retrieval"

class := "" if {
	data.gateway.settings.classes == []
} else := found if {
	found := [entry.class | some entry in data.gateway.settings.classes; _fits_caller(entry.match)][0]
	found in classes
}

# METADATA
# title: The class, the risk and the sensitivity allow the effect of a target
permits(resource) if {
	class == ""
	is_object(resource)
} else if {
	every row in _all_rows {
		_allows(row, resource)
	}
}

# METADATA
# title: The longest life of a credential for the call, in seconds
lease_seconds := min(lives) if {
	lives := [row.lease_seconds | some row in rows]
	lives != []
}

# METADATA
# scope: document
# title: What holds in place of soft limits of the task
# description: |
#   The contract of the task moves soft limits. A row of bounds only lowers them, also below what the contract says:
#   agents write contracts themselves.
soft_limits[name] := limit if {
	some name, limit in _contracted
	not row_limits[name]
}

soft_limits[name] := min([limit, object.get(_contracted, name, _shipped(name))]) if {
	some name, limit in row_limits
}

# METADATA
# scope: document
# title: The lowest soft limits of the rows that fit
row_limits[name] := min(given) if {
	some row in rows
	some name, _ in row.limits
	given := [another.limits[name] | some another in rows]
}

# METADATA
# title: The rules on approvers of the rows that fit
approvers := [row.approvers | some row in rows; "approvers" in object.keys(row)]

# METADATA
# title: The rows that fit the call
rows := [row |
	class != ""
	some row in _all_rows
	_fits(row, input.resource)
]

_all_rows := data.gateway.settings.bounds if is_array(data.gateway.settings.bounds)

_contracted[name] := limit if {
	some name, limit in input.context.task.contract.limits
	is_number(limit)
}

# A limit without a soft number has its hard one.
_shipped(name) := limit.soft if {
	limit := data.gateway.settings.task_limits[name]
	is_number(limit.soft)
} else := data.gateway.settings.task_limits[name].hard

_allows(row, resource) if {
	is_object(row)
	not _fits(row, resource)
} else if {
	is_object(row)
	not "effects" in object.keys(row)
} else if {
	resource.properties.effect in row.effects
}

# A field that a row does not have fits everything, and so does one that is no list: what cannot be read must not free.
_fits(row, resource) if {
	_lists(row, "classes", class)
	_lists(row, "risks", object.get(input.context.task, "risk", ""))
	_lists(row, "sensitivities", object.get(resource.properties, "sensitivity", ""))
}

_lists(row, field, value) if {
	not _has_list(row, field)
	value >= ""
} else if {
	value in row[field]
}

_has_list(row, field) if is_array(row[field])

_fits_caller(match) if {
	patterns.any_matches([object.get(match, "issuer", "*")], input.subject.properties.issuer)
	patterns.any_matches([object.get(match, "id", "*")], input.subject.id)
}
