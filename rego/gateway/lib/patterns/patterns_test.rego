package gateway.lib.patterns_test

import data.gateway.lib.patterns

_matches(pattern, text) if patterns.any_matches([pattern], text)

test_literal_text_matches_itself_only if {
	_matches("read_file", "read_file")
	not _matches("read_file", "read_files")
	not _matches("read_files", "read_file")
}

test_a_star_stands_for_any_run if {
	patterns.any_matches(["write_file", "read_*"], "read_file")
	_matches("read_*", "read_")
	_matches("*", "")
	_matches("file:///data/*.txt", "file:///data/a/b:c.txt")
	not _matches("read_*", "xread_file")
	not _matches("*_file", "read_files")
}

test_head_and_tail_do_not_overlap if not _matches("ab*ba", "aba")

test_a_second_star_matches_nothing_but_itself if {
	not _matches("a*b*c", "a1b2c")
	_matches("a*b*c", "a*b*c")
}

test_no_other_character_is_special if {
	not _matches("read_[a-z]*", "read_file")
	not _matches("read_????", "read_file")
	not _matches("{read,write}_file", "read_file")
}

test_malformed_patterns_match_nothing if {
	malformed := ["read_file", null, 1, true, [1, null, true], {"a": "read_file"}, {"a": "*"}, {"0": "*"}, {"read_*": "write"}, []]
	every list in malformed {
		not patterns.any_matches(list, "read_file")
	}
}

test_what_is_not_text_matches_nothing if {
	every value in [null, 1, true, [], ["a"], {}, {"a": 1}] {
		not patterns.any_matches(["*", "a"], value)
	}
}

_names(pattern, destination) if patterns.any_names([pattern], destination)

test_a_destination_follows_a_pattern_as_one if {
	_names("bob@corp.example", "bob@corp.example")
	_names("*@corp.example", "o'neil+x@corp.example")
	_names("*@corp.example", "jürgen@corp.example")
	_names("*.corp.example", "docs.corp.example")
	_names("reports/*", "reports/a, b (1).txt")
	_names("*", "\"a\" b@y.example c@z.example")
	patterns.any_names(["a*", "*@corp.example"], "bob@corp.example")
	not _names("*@corp.example", "bob@evil.example")
	not _names("corp@*@corp.example", "corp@corp.example")
}

test_what_may_be_several_follows_no_end_of_one if {
	every text in [
		"eve@evil.example|bob@corp.example",
		"eve@evil.example，bob@corp.example",
		"\"eve@evil.example\" bob@corp.example",
		"eve@evil.example/bob@corp.example",
		"eve%evil.example@corp.example",
		"evil.example!eve@corp.example",
		"a@b@corp.example",
	] {
		not _names("*@corp.example", text)
		_names("*", text)
		_names(text, text)
	}
	not _names("*.corp.example", "https://evil.example\\@docs.corp.example")
	not _names("*.corp.example", "evil.example docs.corp.example")
}

test_no_character_that_parts_destinations_stands_in_one if {
	every character in [
		" ", "\t", "\n", "\u0000", "\u0010", "\u001f", "@", ",", ";", "|", "<", ">", "\"", "(", ")", "\\", "%", "!", "、", "，",
		"；", "｜", "＠",
	] {
		not _names("*@corp.example", concat(character, ["eve", "bob@corp.example"]))
	}
	_names("a*b", "ab")
	not _names("ab*ba", "aba")
	not _names("bob*@corp.example", "my-eve@corp.example")
}

test_no_patterns_name_no_destination if {
	every list in ["bob@corp.example", null, 1, {"a": "bob@corp.example"}, [], [null]] {
		not patterns.any_names(list, "bob@corp.example")
	}
	not patterns.any_names(["*"], null)
}
