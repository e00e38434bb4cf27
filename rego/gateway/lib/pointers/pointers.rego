# METADATA
# scope: package
# title: JSON pointers
# description: RFC 6901, over whatever document is given.
package gateway.lib.pointers

# METADATA
# title: The value that a pointer names
# description: Undefined if there is none.
value(document, pointer) := found if {
	# One plain step is nearly always enough, and a look-up is the fastest thing there is.
	[before, key] := split(pointer, "/")
	before == ""
	not contains(key, "~")
	found := document[key]
} else := found if {
	not _one_step(document, pointer)
	startswith(pointer, "/")
	steps := _steps(pointer)
	walk(document, [path, found])
	_same(path, steps)
}

# METADATA
# title: Every text at or below the places that a role's pointer names
# description: |
#   A set. A list of recipients gives each recipient, an object the text of its members. Beside RFC 6901: a step `*` is
#   every item or member, and a text that is JSON is also read as that JSON, as they are for the gateway's history.
texts(document, pointer) := found if {
	around := _around(document, pointer)
	read := opened(around)
	place := _place(pointer)
	found := _texts(document, place) | _others(read, around, place)
}

_others(read, around, place) := set() if {
	read == around
} else := _texts(read, place)

# METADATA
# title: A document, its members that are JSON in a text read as that JSON
# description: >-
#   Servers that expect a list or an object there read them so (`pre_parse_json` of the MCP SDK for Python). A document
#   without any is given back as it is.
opened(document) := object.union(document, read) if {
	is_object(document)
	read := {name: value |
		some name, text in document
		value := _read(text)
	}
	read != {}
} else := document

# What is at or below a list is at or below its items, and one value in the place of a list is its only item.
_place(pointer) := trim_suffix(pointer, "/*") if {
	pointer != "/*"
} else := pointer

# The one member that the pointer leads into.
_around(document, pointer) := {first: value} if {
	first := _steps(pointer)[0]
	is_object(document)
	value := document[first]
} else := document

_read(text) := json.unmarshal(text) if {
	is_string(text)
	regex.match(`^\s*[\[{]`, text)
	json.is_valid(text)
}

_texts(document, pointer) := found if {
	_has_wildcard(pointer)
	steps := _steps(pointer)
	found := {text |
		walk(document, [path, text])
		is_string(text)
		_leads_through(path, steps)
	}
} else := {found} if {
	found := value(document, pointer)
	is_string(found)
} else := {text |
	walk(value(document, pointer), [_, text])
	is_string(text)
}

_has_wildcard(pointer) if {
	contains(pointer, "/*")
	startswith(pointer, "/")
	"*" in split(pointer, "/")
}

# METADATA
# title: One look shows that the pointer names nothing
absent(document, pointer) if {
	_one_step(document, pointer)
	[_, key] := split(pointer, "/")
	not document[key]
	not document[key] == false
}

# One step into an object: what a look-up does not find there is nowhere else.
_one_step(document, pointer) if {
	is_object(document)
	[before, key] := split(pointer, "/")
	before == ""
	not contains(key, "~")
}

_steps(pointer) := [_unescaped(step) | some step in split(substring(pointer, 1, -1), "/")]

_unescaped(step) := replace(replace(step, "~1", "/"), "~0", "~")

_same(path, steps) if {
	count(path) == count(steps)
	every i, key in path {
		_same_step(key, steps[i])
	}
}

# A way to a place at or below one of those that the steps name.
_leads_through(path, steps) if {
	every i, step in steps {
		_one_of_those(path[i], step)
	}
}

_one_of_those(key, step) if {
	step == "*"
} else if {
	_same_step(key, step)
}

_same_step(key, step) if {
	key == step
} else if {
	# An array index is written without leading zeros, so that each place has one name.
	is_number(key)
	format_int(key, 10) == step
}
