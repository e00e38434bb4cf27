package gateway.lib.pointers_test

import data.gateway.lib.pointers

_document := {"a": 1, "b": {"c": [10, {"d": "x"}]}, "m/n": 2, "p~q": 3, "b/c": "trap", "0": "zero", "l": ["y", "z"], "f": false}

test_values if {
	every pointer, value in {"/a": 1, "/b/c/0": 10, "/b/c/1/d": "x", "/m~1n": 2, "/p~0q": 3, "/0": "zero", "/l/1": "z", "/f": false} {
		pointers.value(_document, pointer) == value
	}
}

test_what_is_not_there_is_undefined if {
	_exists("/f")
	every pointer in ["/x", "/b/x", "/l/2", "/l/01", "/l/-1", "a", "xa", "", "/b~1c/x"] {
		not _exists(pointer)
	}
	not _exists_in([1], "/x")
}

test_an_escaped_step_is_not_looked_up_as_it_is_written if {
	pointers.value({"a~1b": "trap", "a/b": 1}, "/a~1b") == 1
	not _exists_in({"a~1b": "trap"}, "/a~1b")
}

test_arrays_have_indices if _exists_in([1], "/0")

test_a_slash_in_a_name_is_no_step if pointers.value(_document, "/b/c") == [10, {"d": "x"}]

test_texts if {
	pointers.texts(_document, "/b/c/1/d") == {"x"}
	pointers.texts(_document, "/b") == {"x"}
	pointers.texts(_document, "/l") == {"y", "z"}
	pointers.texts(_document, "/a") == set()
	pointers.texts(_document, "/x") == set()
}

test_a_wildcard_is_every_item_or_member if {
	places := {
		"cmds": ["a", ["b", {"x": "c"}]], "by": {"one": {"cmd": "d", "n": 1}, "two": {"cmd": "e"}, "a/b": {"cmd": "f"}},
		"*": "star", "s*": "g", "text": "h",
	}
	every pointer, found in {
		"/cmds/*": {"a", "b", "c"},
		"/cmds/*/0": {"b"},
		"/cmds/*/*": {"a", "b", "c"},
		"/by/*/cmd": {"d", "e", "f"},
		"/by/a~1b/*": {"f"},
		"/*/*/cmd": {"d", "e", "f"},
		"/*": {"a", "b", "c", "d", "e", "f", "star", "g", "h"},
		"/s*": {"g"},
		"/text/*": {"h"},
		"/text": {"h"},
		"/none/*": set(),
		"/*/none": set(),
		"*": set(),
		"cmds/*": set(),
		"xcmds/*": set(),
		"xtext": set(),
	} {
		pointers.texts(places, pointer) == found
	}
	pointers.texts(["a", "b"], "/*") == {"a", "b"}
	pointers.texts("a", "/*") == set()
}

test_a_text_that_is_json_is_read_as_that_too if {
	document := {"paths": "[\"\\u002e\\u002e/x\"]", "to": " {\"all\": [{\"at\": \"y\"}]}", "plain": "[x", "n": 1, "deep": {"in": "[\"z\"]"}}
	pointers.texts(document, "/paths") == {"[\"\\u002e\\u002e/x\"]", "../x"}
	pointers.texts(document, "/to/all/*/at") == {"y"}
	pointers.texts(document, "/to/all") == {"y"}
	pointers.texts(document, "/plain") == {"[x"}
	pointers.texts(document, "/deep") == {"[\"z\"]"}
	pointers.opened(document).paths == ["../x"]
	pointers.opened({"a": "x", "l": ["[1]"]}) == {"a": "x", "l": ["[1]"]}
	pointers.opened(["[1]"]) == ["[1]"]
	pointers.opened(null) == null
}

test_one_look_misses_nothing_that_is_there if {
	pointers.absent({"a": 1}, "/x")
	not pointers.absent({"a": 1}, "/a")
	not pointers.absent({"f": false}, "/f")
	not pointers.absent({"a/b": 1, "p~q": 1}, "/a~1b")
	not pointers.absent({"a/b": 1, "p~q": 1}, "/p~0q")
	not pointers.absent({"a": {"b": 1}}, "/a/b")
	not pointers.absent(["x"], "/0")
}

test_a_wildcard_names_no_single_value if {
	pointers.value({"*": 1, "a": 2}, "/*") == 1
	not _exists_in({"a": 2}, "/*")
}

_exists(pointer) if _exists_in(_document, pointer)

_exists_in(document, pointer) if {
	found := pointers.value(document, pointer)
	type_name(found) != "set"
}
