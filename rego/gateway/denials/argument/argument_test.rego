package gateway.denials.argument_test

import data.gateway.denials.argument
import data.gateway.testing.example_test as example

_found(call) := example.found(denials, asks) if {
	denials := argument.denials with input as call
	asks := argument.asks with input as call
}

# A person decides on each but what is no object.
_denials(call) := {object.remove(finding, ["asked"]) | some finding in found} if {
	found := _found(call)
	every finding in found {
		object.get(finding, "asked", false) == finding.code != "argument/malformed"
	}
}

_codes(role, value) := example.codes(found) if {
	found := _denials(example.changed({"/resource/properties/roles": {"/x": role}, "/arguments": {"x": value}}))
}

test_plain_arguments_are_not_refused if {
	found := _denials(example.call)
	found == set()
	_codes("destination", ["bob@example.com", "https://docs.example/"]) == set()
	_codes("content", "../../etc/passwd http://localhost/") == set()
	_codes("command", "ls -l\r\n\tpwd") == set()
}

test_arguments_are_an_object if {
	every value in [[], null, "x"] {
		found := _denials(example.changed({"/arguments": value}))
		example.codes(found) == {"argument/malformed"}
	}
	found := _denials(example.without("/arguments"))
	example.codes(found) == {"argument/malformed"}
	written := _denials(example.changed({"/arguments": "x", "/resource/properties/effect": "write"}))
	example.codes(written) == {"argument/malformed"}
}

test_paths_do_not_climb if {
	every role in ["selector", "destination"] {
		_codes(role, "a/../b") == {"argument/path-traversal"}
		_codes(role, {"deep": ["a", "%2e%2e/b"]}) == {"argument/path-traversal"}
	}
}

test_a_folder_above_is_named_only_to_be_read if {
	every text in ["..", "../..", "../"] {
		_codes("selector", text) == set()
		_codes("destination", text) == {"argument/path-traversal"}
	}
	every text in ["../x", "a/..", "..\\..", "%2e%2e", "..%2f..", "\uff0e\uff0e", "x/../..", "/..", "..\u0000"] {
		_codes("selector", text) == {"argument/path-traversal"}
	}
	every other in ["passwd", "w", ["passwd"], {"deep": "passwd"}, "[\"passwd\"]"] {
		found := _denials(example.changed({
			"/resource/properties/roles": {"/x": "selector"},
			"/arguments": {"x": "..", "name": other},
		}))
		example.codes(found) == {"argument/path-traversal"}
	}
	shown := _denials(example.changed({
		"/resource/properties/roles": {"/x": "selector"},
		"/arguments": {"x": "..", "all": true, "depth": 2},
	}))
	shown == set()
	every change in [
		{"/resource/properties/effect": "write"},
		{"/resource/properties/effect": "destructive"},
		{"/resource/properties/effect": "exec"},
		{"/resource/properties/egress": true},
	] {
		call := {"/resource/properties/roles": {"/x": "selector"}, "/arguments": {"x": ".."}}
		found := _denials(example.changed(object.union(call, change)))
		example.codes(found) == {"argument/path-traversal"}
	}
}

test_destinations_are_not_internal if {
	every text in [
		"http://127.0.0.1/", "http://169.254.169.254/latest", "http://[::1]/", "http://[::ffff:7f00:1]/", "localhost",
		"http://metadata.google.internal/", "http://10.0.0.1.nip.io/", "0.0.0.0:80", "http://168.63.129.16/",
		"h\nttp://127.0.0.1/", "eve\n@localhost",
	] {
		_codes("destination", text) == {"argument/internal-address"}
	}
	_codes("selector", "http://localhost/") == {"argument/internal-address"}
	_codes("selector", "localhost") == set()
}

test_a_destination_is_not_internal_in_another_spelling if {
	every destination in ["127.0.0.1", "169.254.169.254:8080", "eve@localhost", "[::1]", "metadata."] {
		call := example.changed({
			"/resource/properties/roles": {"/x": "destination"},
			"/arguments": {"x": "Docs <http://docs.example/>, <http://hidden/>"},
			"/session/call_destinations": ["docs.example", destination],
		})
		found := _denials(call)
		found == {{"code": "argument/internal-address", "facts": ["/session/call_destinations"]}}
	}
	call := example.changed({"/session/call_destinations": ["docs.example", "bob@corp.example", "#team", "reports/a.txt"]})
	_denials(call) == set()
}

test_lists_in_a_text_are_looked_into if {
	_codes("destination", "[\"http://127.0.0.1/\"]") == {"argument/internal-address"}
	_codes("selector", "[\"../x\"]") == {"argument/path-traversal"}
	_codes("command", "[\"ls\\u200b\"]") == {"argument/hidden-command"}
}

test_destinations_are_not_disguised if {
	_codes("destination", "http://0x7f000001/") == {"argument/disguised-host"}
	call := example.changed({"/resource/properties/roles": {"/x": "destination"}, "/arguments": {"x": "http://0x7f000001/"}})
	found := _denials(call)
	found == {{"code": "argument/disguised-host", "facts": ["/arguments/x"]}}
}

test_lost_lists_refuse if {
	places := {"/resource/properties/roles": {"/x": "destination"}, "/arguments": {"x": "https://docs.example/"}}
	every networks in [null, {}, {"v4": [], "v6": ["::1/128"]}, {"v4": ["127.0.0.0/8"], "v6": []}, {"v4": ["127.0.0.0/8"]}] {
		settings := object.union(object.remove(data.gateway.settings, ["internal_networks"]), {"internal_networks": networks})
		found := _denials(example.changed(places)) with data.gateway.settings as settings
		example.codes(found) == {"argument/internal-address"}
	}
}

test_one_network_of_each_kind_is_a_list if {
	places := {"/resource/properties/roles": {"/x": "destination"}, "/arguments": {"x": "https://docs.example/%20"}}
	networks := {"v4": ["127.0.0.0/8"], "v6": ["::1/128"]}
	settings := object.union(object.remove(data.gateway.settings, ["internal_networks"]), {"internal_networks": networks})
	found := _denials(example.changed(places)) with data.gateway.settings as settings
	found == set()
}

test_the_name_of_a_tool_is_no_destination if {
	found := _denials(example.changed({"/resource/id": "files/localhost"}))
	found == set()
}

test_the_uri_of_a_resource_is_judged if {
	every name, code in {"file:///a/../b": "argument/path-traversal", "http://127.0.0.1/": "argument/internal-address"} {
		resource := object.union(example.note, {"id": concat("/", ["files", name])})
		found := _denials(example.changed({"/resource": resource}))
		found == {{"code": code, "facts": ["/resource/id"]}}
	}
}

test_commands_hide_nothing if {
	every text in ["a\u001b[2K", "a\rb", "a\r", "a\u202eb", "a\u200bb", "a\u0000", "a\ufeff", "a\u00adb", "a\udb40\udc41"] {
		_codes("command", text) == {"argument/hidden-command"}
	}
}

test_plain_texts_pass_at_once if {
	every role, values in {
		"selector": ["notes/today.txt", "/etc/hosts", "./a b/c-d_e", "", 7],
		"destination": ["bob@example.com", ["bob@example.com", "eve@a.example"], [], "reports/week.txt", "docs.example/a/b.txt", 7],
		"content": ["../..", ["http://localhost"]],
	} {
		every value in values {
			_codes(role, value) == set()
		}
	}
}

test_texts_that_only_seem_plain_do_not if {
	every text, code in {
		"localhost": "argument/internal-address",
		"localhost/a": "argument/internal-address",
		"a.localhost/b": "argument/internal-address",
		"bob@localhost": "argument/internal-address",
		"bob@a.metadata": "argument/internal-address",
		"127.0.0.1/a": "argument/internal-address",
		"bob@127.0.0.1": "argument/internal-address",
		"BOB@LOCALHOST": "argument/internal-address",
		"a/../b": "argument/path-traversal",
		"../b": "argument/path-traversal",
		"docs/..": "argument/path-traversal",
	} {
		_codes("destination", text) == {code}
		_codes("destination", [text]) == {code}
		_codes("destination", ["bob@example.com", text]) == {code}
	}
	every text in ["a/../b", "../x", "a/..", "a/%2e%2e/b", "a/./../b"] {
		_codes("selector", text) == {"argument/path-traversal"}
	}
	_codes("selector", "//localhost/a") == {"argument/internal-address"}
	_codes("selector", ["a", "../b"]) == {"argument/path-traversal"}
}

test_a_pointer_of_several_steps_is_followed if {
	arguments := {"a": {"b": "../x"}, "a/b": "plain", "c~1d": "plain", "c/d": "../y"}
	every pointer in ["/a/b", "/c~1d"] {
		found := _denials(example.changed({"/resource/properties/roles": {pointer: "selector"}, "/arguments": arguments}))
		example.codes(found) == {"argument/path-traversal"}
	}
}

test_a_wildcard_is_every_item_or_member if {
	every pointer, value in {"/x/*": ["a", "../b"], "/*": "../b", "/x/*/p": {"k": {"p": ["../b"]}}, "/*/*": {"k": "../b"}} {
		roles := {pointer: "selector"}
		found := _denials(example.changed({"/resource/properties/roles": roles, "/arguments": {"x": value}}))
		example.codes(found) == {"argument/path-traversal"}
	}
	hidden := example.changed({"/resource/properties/roles": {"/*": "command"}, "/arguments": {"x": "a\rb"}})
	found := _denials(hidden)
	example.codes(found) == {"argument/hidden-command"}
	plain := example.changed({"/resource/properties/roles": {"/x/*": "selector"}, "/arguments": {"x": ["a", "b/c"], "y": "../d"}})
	none := _denials(plain)
	none == set()
}

test_an_argument_may_be_missing if {
	found := _denials(example.changed({"/resource/properties/roles": {"/y": "destination", "/z": "selector", "/c": "command"}}))
	found == set()
}

test_one_look_misses_nothing_in_what_is_put_together if {
	parts := ["", ".", "..", "/", "a", "@", ":", "%2e", "localhost", "127.0.0.1", "https://"]
	every first in parts {
		every second in parts {
			text := concat("", [first, second])
			_codes("selector", text)
			_codes("destination", text)
			_codes("destination", concat("", [text, "localhost"]))
		}
	}
}

test_every_argument_is_looked_at if {
	roles := {"/a": "selector", "/b": "destination", "/c": "command", "/d": "content"}
	plain := {"a": "a", "b": ["a@b.example"], "c": "ls", "d": "a"}
	every name, value in {"a": "../x", "b": ["a@b.example", "localhost"], "c": "a\rb"} {
		arguments := object.union(plain, {name: value})
		found := _denials(example.changed({"/resource/properties/roles": roles, "/arguments": arguments}))
		[fact | some denial in found; some fact in denial.facts] == [concat("/", ["/arguments", name])]
	}
	found := _denials(example.changed({"/resource/properties/roles": roles, "/arguments": plain}))
	found == set()
}

test_an_inner_destination_is_refused_without_an_argument_of_its_role if {
	call := example.changed({
		"/resource/properties/roles": {},
		"/session/call_destinations": ["docs.example", "http://127.0.0.1/"],
	})
	found := _denials(call)
	example.codes(found) == {"argument/internal-address"}
}

test_a_joiner_between_emoji_hides_nothing if {
	every text in [
		"echo 👩\u200d💻",
		"echo 👨\u200d👩\u200d👧\u200d👦 done",
		"git commit -m '❤\ufe0f\u200d🔥 🏳\ufe0f\u200d🌈 🧑🏽\u200d🚀'",
	] {
		_codes("command", text) == set()
	}
	every text in ["r\u200dm", "👩\u200drm -rf /", "rm\u200d👩", "👩\u200d\u200d💻", "👩\u200d💻 r\u200bm", "\u200d", "👩\u200d"] {
		_codes("command", text) == {"argument/hidden-command"}
	}
}

_written(effect, arguments, roles) := example.codes(found) if {
	found := _denials(example.changed({
		"/resource/properties/effect": effect,
		"/resource/properties/roles": roles,
		"/arguments": arguments,
	}))
}

test_startup_files_are_written_with_a_question if {
	every effect in ["write", "destructive", "exec", "mint"] {
		_written(effect, {"file_name": ".profile", "content": "x"}, {"/file_name": "selector"}) == {"argument/startup-file"}
		_written(effect, {"file_name": "notes.md", "content": "x"}, {"/file_name": "selector"}) == set()
	}
	_written("read", {"file_name": ".profile"}, {"/file_name": "selector"}) == set()
}

test_a_startup_file_is_seen_wherever_it_may_be_named if {
	every arguments in [
		{"path": ".git/hooks/pre-commit"}, {"folder": ".git/hooks", "name": "pre-commit"}, {"name": "pre-commit", "folder": ".git/hooks/"},
		{"files": [{"path": "a"}, {"path": "~/.bashrc"}]}, {"files": "[\".bashrc\"]"}, {"a~b/c": ".bashrc"},
	] {
		_written("write", arguments, {}) == {"argument/startup-file"}
	}
	named := _denials(example.changed({
		"/resource/properties/effect": "write",
		"/resource/properties/roles": {},
		"/arguments": {"a~b/c": ".bashrc"},
	}))
	named == {{"code": "argument/startup-file", "facts": ["/arguments/a~0b~1c"]}}
	many := {name: "x" | some name in ["a", "b", "c", "d", "e", "f", "g", "h"]}
	_written("write", object.union(many, {"i": ".bashrc"}), {}) == {"argument/startup-file"}
	_written("write", object.union(many, {"i": ".git/hooks"}), {}) == set()
}

test_a_text_may_speak_of_a_startup_file if {
	every role in ["content", "command", "credential", "amount"] {
		_written("write", {"text": ".bashrc", "to": "notes.md"}, {"/text": role}) == set()
	}
	_written("write", {"text": "Edit your .bashrc, please."}, {}) == set()
}
