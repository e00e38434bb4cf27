package gateway.lib.paths_test

import data.gateway.lib.paths

test_a_folder_holds_what_is_below_it if {
	paths.under("/data", "/data")
	paths.under("/data/a/b.txt", "/data/")
	paths.under("reports/week 1.txt", "reports")
	paths.under("/etc/passwd", "/")
	paths.under("/data/.hidden/v1./a b", "/data")
	paths.under("/data/é‰", "/data")
}

test_a_folder_does_not_hold_its_neighbours if {
	every path in [
		"/database", "/", "", "data/a", "/data/../etc", "/data//a", "/data/./a", "/data/.. /a", "/data/a\\..\\b",
		"/data/%2e%2e/a", "/data/a\u0000", "/data/a\n", "/data/\uff0e\uff0e/a", "/data/..", "/data/...",
	] {
		not paths.under(path, "/data")
	}
}

test_texts_that_climb if {
	every text in [
		"..", "../a", "a/../b", "a/..", "a\\..\\b", "%2e%2e/a", "a/%2e./b", "a/.%2E/b", "a%2f..%2fb", "a/%252e%252e/b",
		"a/..;/b", "x?p=../a", "a/.. /b", "a\u0000b", "a%00b", "\uff0e\uff0e/a", "a\uff0f..\uff0fb",
	] {
		paths.traverses(text)
	}
}

test_texts_that_do_not if {
	every text in ["", "a/b.txt", "main..dev", "a..", "..a", "...", "https://a.example/?q=%2Fhome", "50% off", "1.2"] {
		not paths.traverses(text)
	}
}

test_no_character_with_another_reading_is_plain if {
	every character in [
		"\\", "%", "\u0000", "\u001f", "\u007f", "\u2024", "\u2025", "\u2026", "\u2044", "\u2215", "\ufe19", "\ufe30", "\ufe52",
		"\ufe68", "\uff0e", "\uff0f", "\uff3c",
	] {
		not paths.under(concat(character, ["/data/a", "b"]), "/data")
	}
}

test_a_climb_is_seen_in_every_writing if {
	every dot in [".", "\u2024", "\ufe52", "\uff0e", "%2e", "%252E"] {
		every slash in ["/", "\\", "\u2044", "\u2215", "\ufe68", "\uff0f", "\uff3c", "%2f", "%5C", "%252F", "%255c"] {
			paths.traverses(concat("", ["a", slash, dot, dot, slash, "b"]))
			not paths.traverses(concat("", ["a", slash, dot, "a", slash, "b"]))
		}
	}
	every before in ["", "a?", "a&", "a=", "a:"] {
		every behind in ["", "?a", "&a", "#a", ";a"] {
			paths.traverses(concat("..", [before, behind]))
		}
	}
	every text in ["a\u2025b", "a\ufe30b", "a\u0000b", "a%00b", "a%2500b"] {
		paths.traverses(text)
	}
	every text in ["a/100", "a/100 %20", "a%0ab", "a%20b", "a%25b"] {
		not paths.traverses(text)
	}
}
