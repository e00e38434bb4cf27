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

test_a_folder_above_is_named_by_nothing_else if {
	every text in ["..", "../", "../..", "../../../"] {
		paths.only_climbs(text)
		paths.traverses(text)
	}
	every text in [
		"", ".", "...", "../a", "a/..", "./..", "/..", "..//..", "..\\..", "%2e%2e", ".. ", "..\n", "..;/", "..\u0000", "\u2025",
		"\uff0e\uff0e", "..,..", "../~", "../*", "../.",
	] {
		not paths.only_climbs(text)
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

test_a_path_that_another_reader_leads_elsewhere_lies_in_no_folder if {
	every below in [
		# Path parameters, and marks at which a reader of URLs, streams or lists stops.
		"..;/etc", "..;a=b/etc", "..;", ".;/..;/etc", "..:/etc", "..?/etc", "..#/etc", "..,/etc", "..&/etc", "..|/etc", "..!/etc",
		"..=/etc", "..；/etc", "..，/etc", "'..';/etc", "@(..);/etc", ".?;/etc",
		# Expansion by a shell, a template or Windows.
		"{..}", "{..}/etc", "{.,}./etc", "{{x}}", "$HOME", "${HOME}/x", "$(pwd)", "a/$1", "`pwd`", "%HOME%", "＄HOME", "｛..｝", "％2e",
		"~/x", "~root/x", "a/~", "a ~root/x", "a:~/x",
		# Wildcards that can stand for two dots.
		"..*/etc", ".*/etc", ".?/etc", "??/etc", "*", "*/etc", "**/etc", ".[.]/etc", "[.][.]/etc", "[.a].", "[!a][!b]/x", "*[.a]/x",
		"[a.]*/x", "@(..)/etc", "+(.)/etc", "?(.)./etc", "!(x)/etc", ".[[.period.]]/etc",
		# Characters that a shell, cmd.exe or a file system drops.
		"'..'/etc", ".'.'/etc", "\"..\"/etc", ".^./etc", "^.^./etc", ".\u200c./etc", ".\u200d.", "\ufeff../etc", ".\u00ad./etc",
		".\u2060./etc", "..\u00a0/etc", "\u3000../etc", ".\ufe0f./etc", ". ./etc", " ../etc", "..\u2003",
		# Streams, drives and devices of Windows.
		"file::$DATA", "file:stream", "a:b/c", ":x", "x:", "c:/x", "nul", "NUL", "con.txt", "a/aux/b", "com1", "LPT9.log", "Com¹",
		"prn .txt", "CONIN$", "a.b::$INDEX_ALLOCATION/x",
		# A second path behind a mark that parts lists, options or words.
		"a,/etc/passwd", "a, /etc/passwd", "a;/etc/passwd", "a|/etc", "a /etc/passwd", "a:/etc", "a=/etc", "a&/etc", "a>/etc/x",
		"a</etc/x", "a，/etc", "a、/etc", "a；/etc", "a：/etc", "a ..", "a,..", "x ../etc", "a\u00a0/etc", "a\u2028/etc",
		# Encodings of dots and slashes.
		"&#46;&#46;/etc", "&#46&#46/etc", "&period;&period;/etc", "x&sol;y", "x&bsol;y", "=2E=2E/etc", "=2e./etc", "x=2F..=2Fetc",
		"..=2fetc", "\u00c0\u00ae\u00c0\u00ae/etc", "..\u00c0\u00afetc", "\\u002e\\u002e/etc", "\\x2e\\x2e/etc", "%c0%ae/etc", "%u002e%u002e/etc",
		# Look-alikes that a normal form or a code page of Windows turns into dots, slashes or backslashes.
		"..\u2216etc", "..\u00a5etc", "..\u20a9etc", "..\uffe5etc", "..\uffe6etc", "..\uf05cetc", "\uf02e\uf02e/etc", "\ufe52\ufe52/etc",
		"\u2025/etc", "\uff0e./etc", "。。/etc", "｡｡/etc", "··/etc", "..\u0085/etc", "a\u009fb", "..\u2028/etc",
		# Empty steps.
		"/x", "a//b", " /x", "'/x", "\"\"/x", "\u200b/x", "-/x", "@/x", "()/x", ";/x", "a/;",
	] {
		not paths.under(concat("/", ["/data", below]), "/data")
	}
}

test_honest_names_lie_in_their_folder if {
	every below in [
		"a", "a/", "a.txt", "a.tar.gz", ".hidden", ".config/app", "..data/key", "..2026_01_01/key", "._x", "_", "__init__.py", "a..b",
		"a..", "a.", "Week 1/report (1).txt", "Bob's report.pdf", "Q&A.md", "R&D/plan.txt", "AT&T.txt", "a, b.txt", "Smith, John.pdf", "a;b.txt",
		"a|b", "a=b.txt", "year=2026/month=01/x.parquet", "lr=2e-5/checkpoint", "c++/main.cc", "C#/x.cs", "a+b", "a#1.txt", "#1",
		"user@host.log", "@types/node", "@modal/page.tsx", "(group)/page.tsx", "(..)photo/page.tsx", "app/[id]/page.tsx",
		"app/[...slug]/page.tsx", "app/[[...slug]]/page.tsx", "[1].txt", "*.csv", "report-?.txt", "a*", "what?.txt", "2026-01-01T10:00:00.log",
		"12:30", "file~", "file~1.txt", "a~b", "wow!.txt", "hello! (2).txt", "-x", "--x", "é/ü.txt", "日本語/資料.txt",
		"報告（最終）.txt", "会議：議事録.txt", "何？.txt", "終わり。.txt", "🎉/x", "❤️.txt", "👨‍👩‍👧.png", "می‌خواهم.txt", "50‰", "console.log", "nullable.ts", "auxiliary/x",
		"com10.txt", "comma.txt", "company", "contact.vcf", "printer", "1.2.3", "v1.", "a b c", "it's \"x\".txt", "x^2.txt", "<3.txt", "a>b",
	] {
		paths.under(concat("/", ["/data", below]), "/data")
	}
}

test_the_folder_is_the_operators_word if {
	paths.under("C:/data/a", "C:/data")
	paths.under("~/work/a", "~/work")
	paths.under("$HOME/work/a", "$HOME/work")
	paths.under("./a", ".")
	not paths.under("./../a", ".")
	not paths.under("C:/data/a:b", "C:/data")
	not paths.under("C:/data/../a", "C:/")
	paths.under("C:/data/a", "C:/")
}
