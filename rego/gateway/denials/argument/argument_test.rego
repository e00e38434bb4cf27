package gateway.denials.argument_test

import data.gateway.denials.argument
import data.gateway.testing.example_test as example

_codes(role, value) := example.codes(found) if {
	found := argument.denials with input as example.changed({"/resource/properties/roles": {"/x": role}, "/arguments": {"x": value}})
}

test_plain_arguments_are_not_refused if {
	found := argument.denials with input as example.call
	found == set()
	_codes("destination", ["bob@example.com", "https://docs.example/"]) == set()
	_codes("content", "../../etc/passwd http://localhost/") == set()
	_codes("command", "ls -l\r\n\tpwd") == set()
}

test_arguments_are_an_object if {
	every value in [[], null, "x"] {
		found := argument.denials with input as example.changed({"/arguments": value})
		example.codes(found) == {"argument/malformed"}
	}
	found := argument.denials with input as example.without("/arguments")
	example.codes(found) == {"argument/malformed"}
}

test_paths_do_not_climb if {
	every role in ["selector", "destination"] {
		_codes(role, "a/../b") == {"argument/path-traversal"}
		_codes(role, {"deep": ["a", "%2e%2e/b"]}) == {"argument/path-traversal"}
	}
}

test_destinations_are_not_internal if {
	every text in [
		"http://127.0.0.1/", "http://169.254.169.254/latest", "http://[::1]/", "http://[::ffff:7f00:1]/", "localhost",
		"http://metadata.google.internal/", "http://10.0.0.1.nip.io/", "0.0.0.0:80", "http://168.63.129.16/",
	] {
		_codes("destination", text) == {"argument/internal-address"}
	}
	_codes("selector", "http://localhost/") == {"argument/internal-address"}
	_codes("selector", "localhost") == set()
}

test_destinations_are_not_disguised if _codes("destination", "http://0x7f000001/") == {"argument/disguised-host"}

test_lost_lists_refuse if {
	places := {"/resource/properties/roles": {"/x": "destination"}, "/arguments": {"x": "https://docs.example/"}}
	every networks in [null, {}, {"v4": [], "v6": ["::1/128"]}, {"v4": ["127.0.0.0/8"]}] {
		found := argument.denials with input as example.changed(places)
			with data.gateway.denials.argument.internal_networks as networks
		example.codes(found) == {"argument/internal-address"}
	}
}

test_the_uri_of_a_resource_is_judged if {
	every name, code in {"file:///a/../b": "argument/path-traversal", "http://127.0.0.1/": "argument/internal-address"} {
		resource := object.union(example.note, {"id": concat("/", ["files", name])})
		found := argument.denials with input as example.changed({"/resource": resource})
		found == {{"code": code, "facts": ["/resource/id"]}}
	}
}

test_commands_hide_nothing if {
	every text in ["a\u001b[2K", "a\rb", "a\r", "a\u202eb", "a\u200bb", "a\u0000", "a\ufeff", "a\u00adb", "a\udb40\udc41"] {
		_codes("command", text) == {"argument/hidden-command"}
	}
}
