# METADATA
# scope: package
# title: Texts without regard to letter case
# description: |
#   `lower` differs between versions of Unicode for U+0130, and for a sigma at the end of a word. Both are replaced
#   before. The letters of Unicode 16 and 17 have a lower case in newer versions only. It is never ASCII.
package gateway.lib.letters

# METADATA
# title: The text in lower case
# description: Different letters stay different.
lowered(text) := lower(strings.replace_n(_to_lower, text))

# METADATA
# title: The name as the most tolerant reader reads it
# description: |
#   Without regard to letter case, underscores and hyphens. A letter with a case in ASCII counts as the letter of ASCII.
folded(name) := lower(strings.replace_n(_to_fold, name))

_to_lower := {"\u0130": "i\u0307", "\u03a3": "\u03c3"}

_to_fold := {
	"\u0130": "i",
	"\u0131": "i",
	"\u017f": "s",
	"\u212a": "k",
	"\u03a3": "\u03c3",
	"\u03c2": "\u03c3",
	"\u0307": "",
	"_": "",
	"-": "",
}
