# METADATA
# scope: package
# title: File paths
# description: |
#   Judged as text, without a file system: a path that could mean something else after normalisation, by any
#   operating system or decoder on the way, is in no folder. Every engine reads these expressions alike.
package gateway.lib.paths

# METADATA
# title: The path lies in a folder, whoever reads it
# description: |
#   The folder itself counts. `/data` does not hold `/database`. The operator wrote the folder. Below it no reader finds
#   another place, be it a shell, a template, a server, a file system or a code page.
under(path, folder) if {
	base := trim_right(folder, "/")
	startswith(concat("", [path, "/"]), concat("", [base, "/"]))
	below := substring(path, count(base), -1)
	not _names_device(below)
	_has_one_reading(below)
}

# METADATA
# title: The text climbs out of where it starts
# description: |
#   A `..` segment, plain or percent-encoded any number of times, with either slash or a full-width one; or a
#   NUL, which ends the path for some readers and not for others.
traverses(text) if {
	# Most texts have none of these, and need no whole expression.
	regex.match(`\.\.|[%\x00\x{2024}\x{2025}\x{fe30}\x{fe52}\x{ff0e}]`, text)
	regex.match(_climbing, text)
}

# METADATA
# title: The text is a folder above where it starts, in its plain form
# description: Nothing but `..`, as often as it stands there, and `/` between.
only_climbs(text) if regex.match(`^\.\.(/\.\.)*/?$`, text)

_climbing := concat("", [
	`(?i)(^|[?&=:]|`, _slash, `)(`, _dot, `){2} *($|[?&#;]|`, _slash, `)`,
	`|[\x00\x{2025}\x{fe30}]|%(25)*00`,
])

_slash := `[/\\\x{2044}\x{2215}\x{fe68}\x{ff0f}\x{ff3c}]|%(25)*(2f|5c)`

_dot := `[.\x{2024}\x{fe52}\x{ff0e}]|%(25)*2e`

# Most paths have only letters, digits, and single dots, spaces and hyphens between them, and need no whole expression.
_has_one_reading(below) if {
	regex.match(`^(/\.?[0-9A-Za-z_][0-9A-Za-z_-]*([. ][0-9A-Za-z_-]+)*)*$`, below)
} else if not _is_ambiguous(below)

_is_ambiguous(below) if regex.match(_ambiguous, below)

# The devices of Windows are in every folder.
_names_device(below) if {
	regex.match(`(?i:(^|/) *(con|prn|aux|nul|(com|lpt)[0-9¹²³]|conin|conout) *([.][^/]*)?(/|$))`, below)
}

_ambiguous := concat("|", [
	# Characters that are an escape, an expansion or a control character, or that become one of them, a dot or a slash.
	sprintf(`[%s]`, [_never]),
	`//`,
	# A step without a letter or a digit, `..`, `. .`, `'..'`, `.?` and `(..)` among them.
	sprintf(`(^|/)[%s]+(/|$)`, [_marks]),
	# Dots or wildcards, then a mark at which some readers stop: `..;x`, `..#x`, `.. x`.
	sprintf(`(^|/)[%s]*[.*?。｡．][%s]*[%s%s]`, [_marks, _marks, _stops, _separators]),
	# Two dots that are a step to readers of lists, options or words.
	sprintf(`(^|[/%s])[%s]*([.][%s]*){2}($|[/%s%s])`, [_separators, _dropped, _dropped, _separators, _stops]),
	# Two wildcards, or one that stands for any run, can be two dots.
	concat("", [`(^|[/`, _separators, `])`, _wildcards, `[. `, _dropped, `]*($|[/`, _separators, `])`]),
	# A second path, and the home of a user.
	sprintf(`[%s][%s]*/|[/%s][%s]*~[^/]*(/|$)`, [_separators, _dropped, _separators, _dropped]),
	# A stream or a drive. Times of day stay.
	`(^|[^0-9]):|:([^0-9]|$)`,
	# Dots and slashes in HTML, quoted-printable and UTF-8 that is too long.
	`&#|=(2[EF]|5C)|(?i:&(period|sol|bsol);|(^|/|=2f|=5c)([.]|=2e){2}(/|=2f|=5c|$))|À[®¯]`,
])

# Control characters, the ends of lines, `$`, `%`, `\`, braces and backticks; their look-alikes, and those of dots and
# slashes, in the normal forms of Unicode and the code pages of Windows; the private characters of Windows and Cygwin.
_never := concat("", [
	"$%\\\\{}`",
	`\x00-\x1f\x7f-\x9f\xa5\x{1fef}\x{2024}-\x{2026}\x{2028}\x{2029}\x{2044}\x{20a9}\x{2215}\x{2216}\x{f000}-\x{f0ff}`,
	`\x{fe19}\x{fe30}\x{fe37}\x{fe38}\x{fe52}\x{fe5b}\x{fe5c}\x{fe68}-\x{fe6a}`,
	`\x{ff04}\x{ff05}\x{ff0e}\x{ff0f}\x{ff3c}\x{ff40}\x{ff5b}\x{ff5d}\x{ffe5}\x{ffe6}`,
])

# White space, punctuation and characters that are not shown, of ASCII and beyond it. No letters, digits and `_`.
_marks := concat("", [
	`\x20-\x2e:-@\[-\^\x60\{-~\xa0-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\x{34f}\x{61c}\x{115f}\x{1160}\x{1680}\x{17b4}\x{17b5}`,
	`\x{180b}-\x{180f}\x{2000}-\x{206f}\x{3000}-\x{3004}\x{3008}-\x{3020}\x{3030}\x{3164}\x{fe00}-\x{fe1f}`,
	`\x{fe30}-\x{fe6f}\x{feff}\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff20}\x{ff3b}-\x{ff3e}\x{ff40}\x{ff5b}-\x{ff65}`,
	`\x{ffa0}\x{fff0}-\x{fffd}\x{e0000}-\x{e0fff}`,
])

_stops := `;:?#!&,|<>=@，、：；？！＃＆｜＜＞＝＠`

_separators := `\x20,;:|&<>=\xa0\x{1680}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}，、：；｜＆＜＞＝`

# Quotes, the escape of cmd.exe and characters that are not shown.
_dropped := concat("", [
	`'"^＇＂＾\x{ad}\x{34f}\x{61c}\x{180b}-\x{180f}\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{206f}`,
	`\x{fe00}-\x{fe0f}\x{feff}`,
])

_one := sprintf(`([%s]*([.?？]|\[[^/\]]+\]?\])[%s]*)`, [_dropped, _dropped])

_wildcards := sprintf(`(\**%s\**%s\**|\*+%s?\**|%s\*+|!\(.*)`, [_one, _one, _one, _one])
