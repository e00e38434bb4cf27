package gateway.lib.conditions_test

import data.gateway.lib.conditions

_holds(condition, value) if conditions.holds(condition, {"x": value}, "/x")

_fails(condition, value) if not _holds(condition, value)

test_one_of if {
	_holds({"one_of": ["a", 1]}, "a")
	_holds({"one_of": ["a", 1]}, [1, "a"])
	_fails({"one_of": ["a", 1]}, "b")
	_fails({"one_of": ["a", 1]}, ["a", "b"])
	_fails({"one_of": "a"}, "a")
	_fails({"one_of": {"k": "a"}}, "a")
}

test_equals if {
	_holds({"equals": {"a": [1]}}, {"a": [1]})
	_holds({"equals": null}, null)
	_fails({"equals": "1"}, 1)
}

test_matches_the_whole_text if {
	_holds({"matches": "[a-z]+"}, "abc")
	_holds({"matches": "[a-z]+"}, ["abc", "d"])
	_holds({"matches": "a|b"}, "b")
	every value in ["abc1", "1abc", "abc\n", "", 1, null, ["abc", "1"], {"a": "abc"}] {
		_fails({"matches": "[a-z]+"}, value)
	}
	_fails({"matches": "a|b"}, "ab")
}

test_patterns_that_engines_read_differently_are_void if {
	every pattern in [`\d+`, `\w`, `\bx`, `(?i)a`, `(?P<a>b)`, `[a&&b]`, `[a--b]`, `[a~~b]`, `a)|(b`, `(`, `\pN`, 1, null] {
		not conditions.portable(pattern)
	}
	every pattern in [`(?:a\.b\x41)+`, `\n\r\t`, `a?b`, `a&b`, `a-b`, `a~b`] {
		conditions.portable(pattern)
	}
	_fails({"matches": `\w+`}, "a")
}

test_a_list_or_an_object_in_a_text_is_one if {
	_holds({"max_items": 2}, ["a", "b"])
	_holds({"max_items": 2}, "[\"a\", \"b\"]")
	_fails({"max_items": 2}, ["a", "b", "c"])
	_fails({"max_items": 2}, "[\"a\", \"b\", \"c\"]")
	every condition in [{"absent": true}, {"one_of": ["eu"], "optional": true}] {
		conditions.holds(condition, {"options": {}}, "/options/region")
		conditions.holds(condition, {"options": "{\"size\": 1}"}, "/options/region")
		not conditions.holds(condition, {"options": {"region": "us"}}, "/options/region")
		not conditions.holds(condition, {"options": "{\"region\": \"us\"}"}, "/options/region")
	}
}

test_under if {
	_holds({"under": "/data"}, ["/data/a", "/data"])
	every value in ["/data/../a", "/data/..;/etc", "/data/{..}", "/data/$HOME", "/data/file::$DATA", ["/data/a", "/data/{..}"]] {
		_fails({"under": "/data"}, value)
	}
	_fails({"under": "/data"}, ["/data/a", "/etc"])
	_fails({"under": "/data"}, 1)
	_fails({"under": ""}, "/data")
	_fails({"under": ["/data"]}, "/data")
}

test_host_in if {
	_holds({"host_in": ["docs.example", "*.docs.example"]}, "https://a.docs.example/")
	_holds({"host_in": ["docs.example"]}, ["docs.example", "https://docs.example/a"])
	_fails({"host_in": ["docs.example"]}, ["docs.example", "evil.test"])
	every value in [
		"file://docs.example/etc", "javascript://docs.example/%0aalert(1)", "data://docs.example/,x", "docs.example,evil.test",
		["https://docs.example/", "file:///docs.example"],
	] {
		_fails({"host_in": ["docs.example"]}, value)
	}
	every value in ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "a.example,b.example"] {
		_fails({"host_in": ["*"]}, value)
	}
	_fails({"host_in": ["*.docs.example"]}, "evil.test,a.docs.example")
	every value in ["https://evil.test/", "a@docs.example", "https://docs.example@evil.test/", 1, "https://evil.test,b@docs.example"] {
		_fails({"host_in": ["docs.example"]}, value)
	}
}

test_bounds if {
	_holds({"min": 1, "max": 3}, 2)
	_holds({"min": 1, "max": 3}, [1, 3])
	every value in [0, 4, "2", null, [1, 4]] {
		_fails({"min": 1, "max": 3}, value)
	}
	every value in ["2", null, false, [], {}, [2, null], [2, "2"]] {
		_fails({"max": 3}, value)
		_fails({"min": 1}, value)
	}
	_fails({"min": 1}, [2, 0])
	_fails({"max": 3}, [2, 4])
	_fails({"max": "3"}, 2)
	_fails({"min": null}, 2)
	_holds({"max_items": 2}, ["a", "b"])
	_holds({"max_items": 1}, "a")
	_fails({"max_items": 2}, ["a", "b", "c"])
	_fails({"max_items": "x"}, ["a"])
}

test_presence if {
	_holds({"present": true}, null)
	_fails({"present": false}, 1)
	_fails({"absent": true}, 1)
	conditions.holds({"absent": true}, {}, "/x")
	not conditions.holds({"present": true}, {}, "/x")
}

test_a_missing_argument_fails_unless_it_is_optional if {
	every condition in [{"one_of": ["a"]}, {"equals": "a"}, {"matches": ".*"}, {"under": "/"}, {"max": 1}, {"min": 1}, {"host_in": ["a"]}, {"max_items": 1}, {"present": true}] {
		not conditions.holds(condition, {}, "/x")
		conditions.holds(object.union(condition, {"optional": true}), {}, "/x")
		not conditions.holds(object.union(condition, {"optional": "yes"}), {}, "/x")
	}
	_fails({"one_of": ["a"]}, [])
	_holds({"one_of": ["a"], "optional": true}, [])
	_holds({"one_of": ["a"], "optional": true}, "a")
	_fails({"one_of": ["a"], "optional": true}, "b")
}

test_conditions_that_cannot_be_read_do_not_hold if {
	every condition in [
		{}, {"optional": true}, {"startswith": "a"}, {"hosts": ["a"]}, {"one_of": ["a"], "nope": 1},
		{"one_of": ["a"], "nope": 1, "optional": true}, "a", null, ["one_of"],
	] {
		_fails(condition, "a")
		not conditions.holds(condition, {}, "/x")
	}
}

test_all_conditions_and_all_names if {
	grant := {"when": {"/x": {"equals": 1}, "/y": {"equals": 2}}, "arguments": ["x", "y"]}
	conditions.hold(grant, {"x": 1, "y": 2})
	not conditions.hold(grant, {"x": 1})
	not conditions.hold(grant, {"x": 1, "y": 2, "z": 3})
	conditions.hold({"arguments": ["x"]}, {})
	conditions.hold({"when": {}}, {"x": 1})
	conditions.hold({}, {"x": 1})
	not conditions.hold({"when": {"/x": {"equals": 1}}}, {"x": 2})
	not conditions.hold({"arguments": ["x"]}, {"y": 1})
	not conditions.hold({}, [])
	not conditions.hold({"arguments": ["x"]}, ["x"])
}

test_the_tests_that_do_not_hold if {
	conditions.failures({"one_of": ["a"], "matches": "[a-z]"}, {"x": "a"}, "/x") == {}
	conditions.failures({"one_of": ["a"], "matches": "[a-z]"}, {"x": "b"}, "/x") == {"one_of": ["a"]}
	conditions.failures({"one_of": ["a"], "matches": "[a-z]"}, {"x": "1"}, "/x") == {"one_of": ["a"], "matches": "[a-z]"}
	conditions.failures({"min": 1, "max": 3, "optional": true}, {"x": 4}, "/x") == {"max": 3}
	conditions.failures({"min": 1, "optional": true}, {}, "/x") == {}
	conditions.failures({"min": 1}, {}, "/x") == {"min": 1}
	conditions.failures({"absent": true}, {"x": 1}, "/x") == {"absent": true}
	conditions.failures({"nope": 1}, {"x": 1}, "/x") == {"nope": 1}
	conditions.failures("a", {"x": 1}, "/x") == {"": "a"}
}
