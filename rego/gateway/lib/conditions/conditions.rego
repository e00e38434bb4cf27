# METADATA
# scope: package
# title: Conditions on arguments
# description: |
#   What the `arguments` and `when` of a grant say. Everything here is positive: a test that is unknown, malformed, or
#   about an argument that is missing, does not hold, and so its grant does not either.
package gateway.lib.conditions

import data.gateway.lib.hosts
import data.gateway.lib.paths
import data.gateway.lib.patterns
import data.gateway.lib.pointers

# METADATA
# title: All that a grant asks of the arguments holds
# description: Only a grant whose `when` and `arguments` can be read may be given.
hold(grant, arguments) if {
	not grant.when
	not grant.arguments
	is_object(arguments)
} else if {
	names_hold(grant, arguments)
	every pointer, condition in object.get(grant, "when", {}) {
		holds(condition, arguments, pointer)
	}
}

# METADATA
# title: Every argument is one that the grant lists
# description: A grant without `arguments` leaves the names open.
names_hold(grant, arguments) if {
	not grant.arguments
	is_object(arguments)
} else if {
	is_object(arguments)
	every name, _ in arguments {
		name in grant.arguments
	}
}

# METADATA
# title: One condition holds for the argument that its pointer names
holds(condition, arguments, pointer) if {
	is_object(condition)
	tests := object.remove(condition, ["optional"])
	tests != {}
	found := pointers.value(arguments, pointer)

	# Nothing holds for the name of a test that there is not, so each that is there can be read.
	every name, expected in tests {
		_test(name, expected, found)
	}
} else if {
	_may_be_missing(condition)
	_missing(arguments, pointer)
	_readable(condition)
}

# METADATA
# title: The tests of a condition that do not hold for the argument that its pointer names
# description: For explanations. A condition that holds has none.
failures(condition, arguments, pointer) := {} if {
	holds(condition, arguments, pointer)
} else := {name: expected |
	some name, expected in condition
	name != "optional"
	not holds({name: expected}, arguments, pointer)
} if {
	is_object(condition)
} else := {"": condition}

# METADATA
# title: The tests that a condition may name
names := {
	"one_of", "equals", "matches", "under", "host_in",
	"max", "min", "max_items", "present", "absent", "optional",
}

# METADATA
# title: Every regular expression engine reads a pattern alike
# description: |
#   Some engines take `\d`, `\w`, `\s` and `\b` for all of Unicode, RE2 for ASCII; flags, set operations and rarer
#   escapes differ as well. A pattern with any of them is void: write `[0-9]` for `\d`.
portable(pattern) if {
	is_string(pattern)
	not regex.match(`\\[^nrtx[:punct:]]|\(\?[^:]|&&|--|~~`, pattern)
	regex.is_valid(pattern)
}

_readable(condition) if {
	tests := object.keys(condition)
	tests - names == set()
	tests - {"optional"} != set()
}

# An empty list names nothing, like no list. What is hidden in a text from those who take it for one is there.
_missing(arguments, pointer) if {
	pointers.absent(arguments, pointer)
} else if {
	not _named(arguments, pointer)
	read := pointers.opened(arguments)
	not _named(read, pointer)
}

_named(arguments, pointer) if pointers.value(arguments, pointer) != []

_may_be_missing(condition) if {
	condition.optional == true
} else if {
	condition.absent == true
}

# One function and not one for each name: a test has one way to hold, and an unknown test has none.
_test(name, expected, found) if {
	name == "matches"
	_matches(expected, _items(found))
} else if {
	name == "under"
	_under(expected, _items(found))
} else if {
	name == "one_of"
	_one_of(expected, _items(found))
} else if {
	name == "host_in"
	_host_in(expected, _items(found))
} else if {
	name == "max_items"
	_no_longer_than(expected, found)
} else if {
	name == "max"
	_no_more_than(expected, _items(found))
} else if {
	name == "min"
	_no_less_than(expected, _items(found))
} else if {
	name == "equals"
	expected == found
} else if {
	name == "present"
	expected == true
}

_one_of(expected, items) if {
	is_array(expected)
	every item in items {
		item in expected
	}
}

_matches(expected, items) if {
	portable(expected)
	whole := concat("", [`\A(?:`, expected, `)\z`])
	every item in items {
		is_string(item)
		regex.match(whole, item)
	}
}

_under(expected, items) if {
	is_string(expected)
	expected != ""
	every item in items {
		is_string(item)
		paths.under(item, expected)
	}
}

_host_in(expected, items) if {
	schemes := data.gateway.settings.host_schemes
	every item in items {
		is_string(item)
		host := hosts.certain(item, schemes)
		patterns.any_matches(expected, host)
	}
}

# Also where a server that expects a list reads one in a text.
_no_longer_than(expected, found) if {
	is_number(expected)
	read := pointers.opened({"": found})
	count(_items(read[""])) <= expected
}

_no_more_than(expected, items) if {
	is_number(expected)
	every item in items {
		is_number(item)
		item <= expected
	}
}

_no_less_than(expected, items) if {
	is_number(expected)
	every item in items {
		is_number(item)
		item >= expected
	}
}

# A list is judged item by item. An empty one has no item that could be judged, so nothing holds for it.
_items(found) := [found] if {
	not is_array(found)
} else := found if {
	found != []
}
