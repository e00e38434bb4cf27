# METADATA
# scope: package
# title: What is wrong with the grants
# description: |
#   A grant that cannot be read in full is void, which is safe and puzzling. This says why. It runs when a policy is
#   checked or loaded, and after a refusal; never for a call that passes.
package gateway.grants.problems

import data.gateway.lib.approvers
import data.gateway.lib.conditions

# METADATA
# scope: document
# title: Every problem of the grants file
# description: One entry for each problem, with the upstream, the place in its list and what is wrong.
# entrypoint: true
found contains {"upstream": upstream, "index": i, "problem": text} if {
	some upstream, list in data.gateway.grants.upstreams
	is_array(list)
	some i, grant in list
	some text in of(grant)
}

found contains {"upstream": upstream, "index": 0, "problem": "the grants of an upstream are a list"} if {
	some upstream, list in data.gateway.grants.upstreams
	not is_array(list)
}

found contains {"upstream": "", "index": 0, "problem": "upstreams is missing, or no mapping of upstream to grants"} if {
	not _mapping
}

found contains {"upstream": place[0], "index": place[1], "problem": sprintf("the id %q is given twice", [id])} if {
	some id, places in _places
	count(places) > 1
	some place in places
}

# Where each id stands, so that no grant has to be compared with each other.
_places[id] contains [upstream, i] if {
	some upstream, list in data.gateway.grants.upstreams
	is_array(list)
	some i, grant in list
	id := grant.id
}

# METADATA
# title: The problems of one grant
# description: None, if one look shows that the grant is one of the usual form; else what is found.
of(grant) := _conditions(grant) if {
	usual(grant)
} else := union({_absent(grant), _unknown(grant), _lists(grant), _values(grant), _conditions(grant)}) if {
	is_object(grant)
} else := {"a grant is a mapping"}

# METADATA
# title: A grant of the usual form
# description: Of a few fields, each of which is what it has to be. Its conditions are not looked at.
usual(grant) if {
	is_object(grant)
	lists := object.remove(grant, ["id", "description", "owner", "reason", "effects", "sensitivity", "approval", "when"])
	object.keys(lists) - {"tools", "resources", "prompts", "arguments"} == {"agents", "issuers"}
	object.keys(lists) & {"tools", "resources", "prompts"} != set()
	is_string(grant.id)
	is_string(object.get(grant, "description", ""))
	is_string(object.get(grant, "owner", ""))
	is_string(object.get(grant, "reason", ""))
	data.gateway.settings.sensitivities[object.get(grant, "sensitivity", "internal")] >= 0
	object.get(grant, "approval", true) in [true, false]
	is_object(object.get(grant, "when", {}))

	# In the order of all values, text comes after numbers and before lists, and mappings after those.
	effects := object.get(grant, "effects", ["read"])
	effects > []
	effects < {}
	every effect in effects {
		effect in data.gateway.settings.effects
	}
	every list in lists {
		list > []
		list < {}
		every item in list {
			item >= ""
			item < []
			strings.count(item, "*") < 2
		}
	}
}

_mapping if is_object(data.gateway.grants.upstreams)

_lists_of_text := {
	"agents", "issuers", "tools", "resources", "prompts", "effects", "users", "groups",
	"scopes", "auth_methods", "environments", "tenants", "arguments",
}

_others := {"id", "description", "owner", "reason", "until", "sensitivity", "approval", "when"}

_patterns := {"agents", "issuers", "tools", "resources", "prompts", "users"}

_closed := {"effects": data.gateway.settings.effects, "auth_methods": data.gateway.settings.auth_methods}

_absent(grant) := union({
	{sprintf("%s is missing", [field]) | some field in ({"id", "agents", "issuers"} - object.keys(grant))},
	{"one of tools, resources and prompts is needed" |
		object.keys(grant) & {"tools", "resources", "prompts"} == set()
	},
})

_unknown(grant) := {sprintf("there is no field %q", [field]) |
	some field in (object.keys(grant) - (_lists_of_text | _others))
}

_lists(grant) := union({
	{sprintf("%s is not a list of text, with at least one item", [field]) |
		some field, value in grant
		field in _lists_of_text
		not _list_of_text(value)
	},
	{sprintf("%s: %q has more than one *", [field, pattern]) |
		some field in (object.keys(grant) & _patterns)
		is_array(grant[field])
		some pattern in grant[field]
		is_string(pattern)
		count(split(pattern, "*")) > 2
	},
	{sprintf("%s: there is no %q", [field, item]) |
		some field, known in _closed
		is_array(grant[field])
		some item in grant[field]
		is_string(item)
		not item in known
	},
})

_values(grant) := union({
	{sprintf("%s is not text", [field]) |
		some field, value in grant
		field in {"id", "description", "owner", "reason"}
		not is_string(value)
	},
	_approval(object.get(grant, "approval", false)),
	{"until is not a time in UTC; write it like \"2026-12-31T00:00:00Z\", in quotes" | not _timed(grant)},
	{"when is not a mapping of JSON pointer to condition" | not is_object(object.get(grant, "when", {}))},
	{"sensitivity is not one of public, internal, confidential, restricted" | not _ranked(grant)},
})

_approval(value) := set() if {
	is_boolean(value)
} else := {sprintf("approval: %s", [problem]) | some problem in approvers.problems(value)} if {
	is_object(value)
} else := {"approval is neither true nor false, nor a rule on approvers"}

_timed(grant) if {
	until := object.get(grant, "until", "2026-12-31T00:00:00Z")
	is_string(until)
	regex.match(data.gateway.settings.time_form, until)
}

_ranked(grant) if data.gateway.settings.sensitivities[object.get(grant, "sensitivity", "internal")] >= 0

_conditions(grant) := union({
	{sprintf("when: %q is not a JSON pointer; write it like /to", [pointer]) |
		is_object(grant.when)
		some pointer, _ in grant.when
		not startswith(pointer, "/")
	},
	{sprintf("when %s: %s", [pointer, problem]) |
		is_object(grant.when)
		some pointer, condition in grant.when
		some problem in _condition(condition)
	},
})

_condition(condition) := union({
	{sprintf("there is no test %q", [name]) | some name in (object.keys(condition) - data.gateway.lib.conditions.names)},
	{sprintf("%s has a value that it cannot have", [name]) |
		some name, value in condition
		name in data.gateway.lib.conditions.names
		not _expected(name, value)
	},
	{"it says nothing beside optional" | object.keys(condition) - {"optional"} == set()},
	{"absent stands alone" |
		"absent" in object.keys(condition)
		object.keys(condition) != {"absent"}
	},
}) if {
	is_object(condition)
} else := {"a condition is a mapping of test to value"}

_expected("one_of", value) if {
	is_array(value)
	count(value) > 0
}

# Any JSON value can be compared with.
_expected("equals", value) if type_name(value) in {"null", "boolean", "number", "string", "array", "object"}

_expected("matches", value) if conditions.portable(value)

_expected("under", value) if {
	is_string(value)
	value != ""
}

_expected("host_in", value) if _list_of_text(value)

_expected(name, value) if {
	name in {"max", "min", "max_items"}
	is_number(value)
}

_expected(name, value) if {
	name in {"present", "absent"}
	value == true
}

_expected("optional", value) if is_boolean(value)

_list_of_text(list) if {
	is_array(list)
	count(list) > 0
	every item in list {
		is_string(item)
	}
}
