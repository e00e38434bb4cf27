# METADATA
# scope: package
# title: Denials about arguments
# description: |
#   What an argument means is its role, a label of the operator's. Texts are judged wherever they stand at or below
#   the labelled place. The URI of a resource is judged like a selector. A person who sees the argument may approve it.
# schemas:
#   - input: schema.input
package gateway.denials.argument

import data.gateway.lib.hosts
import data.gateway.lib.paths
import data.gateway.lib.pointers
import data.gateway.lib.reach
import data.gateway.lib.startup

# METADATA
# title: The arguments are no object
# custom:
#   code: argument/malformed
#   message: The arguments of the call are missing or are no JSON object.
#   remedy: Send `arguments` as an object, an empty one if there are none.
#   controls: [ASI02]
denials contains {"code": "argument/malformed", "facts": ["/arguments"]} if not _with_object(input)

# METADATA
# title: A path climbs out of where it starts
# description: |
#   A tool that only reads may get a folder above, and no other text: `cd ..`. With a name, `..` leads to a place that
#   nobody named, also if the name stands in another argument.
# custom:
#   code: argument/path-traversal
#   message: An argument holds a path that climbs out of the folder that it starts in.
#   remedy: Send the path in its plain form, without `..` and without encoded slashes or dots.
#   controls: [ASI02, MCP05]
asks contains {"code": "argument/path-traversal", "facts": [pointer]} if {
	some [pointer, text, role] in _places
	paths.traverses(text)
	not _only_climbs(role, text)
}

# METADATA
# title: A destination is inside
# custom:
#   code: argument/internal-address
#   message: An argument names this machine, its neighbours or a metadata service as the destination.
#   remedy: Name the public address of the service.
#   controls: [ASI02, MCP05, NHI2]
asks contains {"code": "argument/internal-address", "facts": [pointer]} if {
	some [pointer, address] in _addresses
	not _outside(address)
}

# METADATA
# title: A destination is inside, in whatever way it is written
# description: >-
#   In the spelling of history, which parts lists and reads each name as its receiver does, where the arguments show no
#   host.
asks contains {"code": "argument/internal-address", "facts": ["/session/call_destinations"]} if {
	some destination in input.session.call_destinations
	address := hosts.address(destination)
	not _outside(address)
}

# METADATA
# title: A destination can be read in more than one way
# custom:
#   code: argument/disguised-host
#   message: An argument holds a URL whose host different programs read differently.
#   remedy: >-
#     Write the host as a plain ASCII name or as four decimal numbers (`xn--…` for international names). Leave out
#     user information, percent signs and backslashes.
#   controls: [ASI02, MCP05]
asks contains {"code": "argument/disguised-host", "facts": [pointer]} if {
	some [pointer, address] in _addresses
	hosts.disguised(address)
}

# METADATA
# title: A command hides part of itself
# custom:
#   code: argument/hidden-command
#   message: A command holds characters that are not shown, so a person would approve something else than is run.
#   remedy: Send the command without control, zero-width and text-direction characters.
#   controls: [ASI05, ASI09, MCP05]
asks contains {"code": "argument/hidden-command", "facts": [concat("", ["/arguments", pointer])]} if {
	some pointer, "command" in input.resource.properties.roles
	some text in pointers.texts(input.arguments, pointer)
	regex.match(_hidden, _without_emoji_joiners(text))
}

# METADATA
# title: A file that programs run by themselves is about to be written
# description: |
#   What a shell, a timer, a login or git runs later outlives the task, and no later call shows it. Each text that may
#   be a path counts, alone and behind another text, in a call that does more than read.
# custom:
#   code: argument/startup-file
#   message: >-
#     The call may write a file that programs run or obey by themselves. Startup files, timed jobs, login keys and git
#     hooks are such files.
#   remedy: Write another file, or ask a person who may approve it.
#   controls: [ASI02, ASI05, ASI10, MCP05]
asks contains {"code": "argument/startup-file", "facts": [concat("/", ["/arguments", name])]} if {
	some name in _startup_files(input)
}

_with_object(call) if is_object(call.arguments)

# A joiner between two emoji makes one picture of them and hides nothing. In a chain of pictures the first look takes
# every other joiner, the second one the rest.
_without_emoji_joiners(text) := text if {
	not contains(text, "\u200d")
} else := regex.replace(regex.replace(text, _joined, "$1$2"), _joined, "$1$2")

_joined := `([\p{So}\x{fe0f}\x{1f3fb}-\x{1f3ff}])\x{200d}(\p{So})`

# C0 but tab and line ends, a carriage return that overwrites its line, DEL and C1, soft hyphen, zero-width and
# text-direction characters, the byte order mark, and the invisible copies of ASCII (tags).
_hidden := concat("", [
	`[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\x{ad}\x{61c}\x{180e}\x{200b}-\x{200f}\x{2028}-\x{202e}`,
	`\x{2060}-\x{206f}\x{feff}\x{fff9}-\x{fffb}\x{e0000}-\x{e007f}]|\r([^\n]|\z)`,
])

# Every text that says where something is or goes and that could be trouble, with its place. A destination may be a
# bare host; a selector has to look like a URL or like more than a plain path.
_places := array.concat(_uris, [[concat("", ["/arguments", pointer]), text, role] |
	some pointer, role in input.resource.properties.roles
	role in ["destination", "selector", "record"]
	some text in pointers.texts(input.arguments, pointer)
	_notable(role, text)
])

_uris := [["/resource/id", uri, "uri"] |
	input.resource.type == "resource"
	uri := substring(input.resource.id, count(input.resource.properties.upstream) + 1, -1)
]

_addresses := [[pointer, hosts.address(text)] | some [pointer, text, _] in _places]

_only_climbs(role, text) if {
	role == "selector"
	paths.only_climbs(text)
	reach.reads_only(input)
	every value in [value | walk(pointers.opened(input.arguments), [_, value])] {
		not _is_other_text(value)
	}
}

_is_other_text(value) if {
	is_string(value)
	not paths.only_climbs(value)
}

_notable(role, text) if {
	role == "destination"
} else if {
	regex.match(`\.\.|[%:\\\x00\x{2024}\x{2025}\x{fe30}\x{fe52}\x{ff0e}]|^[\x00-\x20]*//`, text)
}

_outside(address) if {
	host := address.host
	names := data.gateway.settings.internal_names
	networks := data.gateway.settings.internal_networks
	count(networks.v4) > 0
	count(networks.v6) > 0
	not hosts.within(host, names, networks)
}

# The names of the arguments that say which startup file a call writes.
_startup_files(call) := set() if {
	call.resource.properties.effect == "read"
} else := names if {
	is_object(call.arguments)
	paths := [[_escaped(name), text] |
		some name, value in pointers.opened(call.arguments)
		not _is_no_path(call, name)
		walk(value, [_, text])
		is_string(text)
	]
	names := _named_alone(paths) | _named_together(paths)
} else := set()

_escaped(name) := replace(replace(name, "~", "~0"), "/", "~1")

_is_no_path(call, name) if {
	role := call.resource.properties.roles[concat("", ["/", _escaped(name)])]
	role in ["content", "command", "credential", "amount"]
}

_named_alone(paths) := {name |
	some [name, text] in paths
	startup.names_file(text)
}

# A folder and a name, as two arguments.
_named_together(paths) := {name |
	count(paths) <= 8
	some i, [_, folder] in paths
	some j, [name, text] in paths
	i != j
	startup.names_file(concat("/", [folder, text]))
}
