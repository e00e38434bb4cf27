# METADATA
# scope: package
# title: Name patterns
# description: |
#   A pattern is literal text with at most one `*`, which stands for any run of characters, slashes and colons
#   included. `glob.match` is not used: its delimiters differ between names, SPIFFE ids and URIs, and a wrong
#   delimiter widens a grant without a sound.
package gateway.lib.patterns

# METADATA
# title: The text follows one of the patterns
# description: Undefined, not false, if the patterns are no array.
any_matches(patterns, text) if {
	text in patterns
	_ = patterns[0]
} else if {
	# The most common pattern, and the dearest to look for in the way below. Only arrays have a place 0.
	"*" in patterns
	_ = patterns[0]
	text >= ""
	text < []
} else if {
	is_array(patterns)
	is_string(text)
	some pattern in patterns
	is_string(pattern)

	# A pattern without a star has no second part, one with two stars a third: neither matches here.
	[head, tail] := split(pattern, "*")
	startswith(text, head)
	endswith(text, tail)

	# Head and tail may not share characters: `ab*ba` does not match `aba`.
	count(text) >= count(head) + count(tail)
}

# METADATA
# title: The destination follows one of the patterns
# description: |
#   What stands before the end that a pattern names must be of one destination: whoever parts
#   `eve@evil.example|bob@corp.example` sends to both, and it does not follow `*@corp.example`. Undefined, not false, if
#   the patterns are no array.
any_names(patterns, destination) if {
	destination in patterns
	_ = patterns[0]
} else if {
	is_array(patterns)
	is_string(destination)
	some pattern in patterns
	is_string(pattern)
	[head, tail] := split(pattern, "*")
	startswith(destination, head)
	endswith(destination, tail)
	length := (count(destination) - count(head)) - count(tail)
	length >= 0
	_of_one(substring(destination, count(head), length), tail)
}

_of_one(run, tail) if {
	tail == ""
	run >= ""
} else if {
	not regex.match(`[\s\x00-\x1f@,;|<>"()\\%!、，；｜＠]`, run)
}
