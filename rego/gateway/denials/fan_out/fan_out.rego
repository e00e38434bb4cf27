# METADATA
# scope: package
# title: Calls that fan out
# description: |
#   How far the task has reached, the call included: set sizes, which history keeps. A call that raises a number above
#   its hard limit is refused. Above the soft limit a person is asked, once for a number. See docs/policy/history.md.
# schemas:
#   - input: schema.input
package gateway.denials.fan_out

import data.gateway.bounds
import data.gateway.lib.reach

# METADATA
# title: History does not know how far the task has reached
# custom:
#   code: fan-out/incomplete
#   message: The gateway does not know how far this task has reached, so it lets it reach no further.
#   remedy: Send smaller arguments if they are very large; else an operator should check the history of the gateway.
#   controls: [ASI08, MCP08]
denials contains {"code": "fan-out/incomplete", "facts": sort(facts)} if {
	facts := {concat("/", ["/session", name]) | some name in (object.keys(_always) - _known)}
	facts != set()
}

# METADATA
# title: Too many systems
# custom:
#   code: fan-out/audiences
#   message: The task reaches more systems than one task should.
#   remedy: >-
#     Ask a person who may approve it, or open another task for the rest. Beyond the hard limit only an operator can
#     help: `limits.task.audiences` in gateway.yaml.
#   controls: [ASI02, ASI08, MCP06]
denials contains {"code": "fan-out/audiences", "facts": ["/session/audiences"]} if "audiences" in _above_hard

# METADATA
# title: Too many systems at once
# custom:
#   code: fan-out/burst
#   message: The task reaches more systems within a minute than one task should.
#   remedy: >-
#     Wait a minute before calling another system, or ask a person who may approve it. Beyond the hard limit only an
#     operator can help: `limits.task.audiences_in_window` in gateway.yaml.
#   controls: [ASI02, ASI08, ASI10]
denials contains {"code": "fan-out/burst", "facts": ["/session/audiences_in_window"]} if {
	"audiences_in_window" in _above_hard
}

# METADATA
# title: Too many systems that are written to
# custom:
#   code: fan-out/writes
#   message: The task writes to more systems than one task should.
#   remedy: >-
#     Ask a person who may approve it, or open another task for the rest. Beyond the hard limit only an operator can
#     help: `limits.task.write_audiences` in gateway.yaml.
#   controls: [ASI02, ASI08]
denials contains {"code": "fan-out/writes", "facts": _facts("write_audiences")} if {
	"write_audiences" in _above_hard
}

# METADATA
# title: A first write that nobody has named
# description: |
#   A text that the task has read may have chosen the system. Where a person lets the first write pass, the task has
#   written to the system, so later writes ask no more.
# custom:
#   code: fan-out/unnamed-system
#   message: >-
#     The task has read untrusted data, and would write to a system for the first time. Neither its goal nor its
#     contract names this system.
#   remedy: >-
#     Ask a person who may approve it, or open a task whose goal or contract names the system. An operator can give the
#     system further names (`aliases`), and let a number of systems pass: `limits.task.unnamed_systems` in gateway.yaml.
#   controls: [ASI01, ASI02, ASI08, MCP06]
denials contains {"code": "fan-out/unnamed-system", "facts": _unnamed_facts} if {
	"unnamed_systems" in _above_hard
}

# METADATA
# title: Too many destinations
# custom:
#   code: fan-out/destinations
#   message: The call or its task sends to more destinations than it should.
#   remedy: >-
#     Send to fewer, ask a person who may approve it, or open another task for the rest. Beyond the hard limit only an
#     operator can help: `limits.task` in gateway.yaml, under the name of the fact.
#   controls: [ASI02, ASI08, MCP10]
denials contains {"code": "fan-out/destinations", "facts": [concat("/", ["/session", name])]} if {
	some name in ["call_destinations", "call_own_destinations", "destinations", "own_destinations"]
	name in _above_hard
}

# METADATA
# title: Untrusted data goes to several systems
# custom:
#   code: fan-out/spread
#   message: Data of one untrusted result is carried into more systems than it should be.
#   remedy: >-
#     Use what an untrusted source said in one system only, or ask a person who may approve it. Beyond the hard limit
#     only an operator can help: `limits.task.spread` in gateway.yaml.
#   controls: [ASI01, ASI06, ASI08, MCP06]
denials contains {"code": "fan-out/spread", "facts": ["/session/spread"]} if "spread" in _above_hard

# METADATA
# title: Too many hands between the user and the system
# custom:
#   code: fan-out/depth
#   message: Too many agents and aggregators stand between the user and the system, or nobody knows how many.
#   remedy: >-
#     Call from an agent that is nearer to the user, or ask a person who may approve it. If the upstream passes calls on
#     to others, an operator should declare which in its configuration (`aggregates`). The hard limit is
#     `limits.task.depth` in gateway.yaml.
#   controls: [ASI03, ASI07, ASI08]
denials contains {"code": "fan-out/depth", "facts": ["/session/depth"]} if "depth" in _above_hard

# METADATA
# title: Nobody knows through how many hands the call goes
denials contains {"code": "fan-out/depth", "facts": ["/session/depth"]} if not _depth_known

# METADATA
# title: Several tenants
# custom:
#   code: fan-out/tenants
#   message: The task reaches the systems of several tenants.
#   remedy: >-
#     Open a task for each tenant, or ask a person who may approve it. Beyond the hard limit only an operator can help:
#     `limits.task.tenants` in gateway.yaml.
#   controls: [ASI03, MCP10, NHI8]
denials contains {"code": "fan-out/tenants", "facts": ["/session/tenants"]} if "tenants" in _above_hard

# METADATA
# title: Several environments
# custom:
#   code: fan-out/environments
#   message: The task reaches the systems of several environments.
#   remedy: >-
#     Open a task for each environment, or ask a person who may approve it. Beyond the hard limit only an operator can
#     help: `limits.task.environments` in gateway.yaml.
#   controls: [ASI03, NHI8]
denials contains {"code": "fan-out/environments", "facts": ["/session/environments"]} if "environments" in _above_hard

# METADATA
# title: A person decides whether the task may reach so far
# description: Under the codes of the rules above, whose soft limits these are.
asks contains {"code": code, "facts": facts, "limits": {name: number}} if {
	some name, number in _asked
	name != "unnamed_systems"
	_has_question(name, bounds.soft_limits)
	not name in _within
	code := _codes[name]
	facts := _facts(name)
}

# METADATA
# title: A person decides whether the task may write to a system that nobody has named
# description: |
#   For this system alone, so the approval holds up to no number: several calls at once would show the number of all.
asks contains {"code": "fan-out/unnamed-system", "facts": _unnamed_facts} if {
	_ = _asked.unnamed_systems
	not "unnamed_systems" in _within
}

# How far foreign words go is bounded. It asks only where an operator or a contract gives a soft number.
_has_question(name, _) if name != "spread"

_has_question(name, declared) if name in object.keys(declared)

_has_question(name, _) if "soft" in object.keys(data.gateway.settings.task_limits[name])

# A call that changes nothing raises neither of the two numbers.
_facts(name) := array.concat(_labels(name), [concat("/", ["/session", name])])

_unnamed_facts := array.concat(["/session/labels/untrusted"], _facts("unnamed_systems"))

_labels(name) := reach.missing_labels(input) if {
	name in ["unnamed_systems", "write_audiences"]
} else := []

_codes := {
	"audiences": "fan-out/audiences",
	"audiences_in_window": "fan-out/burst",
	"write_audiences": "fan-out/writes",
	"destinations": "fan-out/destinations",
	"call_destinations": "fan-out/destinations",
	"own_destinations": "fan-out/destinations",
	"call_own_destinations": "fan-out/destinations",
	"spread": "fan-out/spread",
	"depth": "fan-out/depth",
	"tenants": "fan-out/tenants",
	"environments": "fan-out/environments",
	"unnamed_systems": "fan-out/unnamed-system",
}

# The size of each list, and each number, for a call of which history does not say what it raises.
_sizes[name] := count(list) if {
	session := input.session
	some name in _lists
	list := session[name]
	is_array(list)
}

_sizes[name] := number if {
	session := input.session
	some name in ["destinations", "own_destinations", "call_own_destinations", "spread", "depth"]
	number := session[name]
	is_number(number)
}

_lists := [
	"audiences",
	"audiences_in_window",
	"call_destinations",
	"environments",
	"tenants",
	"unnamed_systems",
	"write_audiences",
]

_depth_known if is_number(input.session.depth)

# What history always says. Depth has its own rule. What lies in own domains is known where all destinations are. Most
# tasks write to no system that nobody has named.
_always := {
	"audiences": "array",
	"audiences_in_window": "array",
	"call_destinations": "array",
	"destinations": "number",
	"environments": "array",
	"spread": "number",
	"tenants": "array",
	"write_audiences": "array",
}

_known contains name if {
	session := input.session
	some name, kind in _always
	type_name(session[name]) == kind
}

# The numbers that this call raises. Where history does not say which, it raises all.
_raised := input.session.raises if {
	is_object(input.session.raises)
	every number in input.session.raises {
		is_number(number)
	}
}

_known_raises if _ = _raised

_reached[name] := number if {
	some name, number in _raised
	_ = _codes[name]
}

_reached[name] := size if {
	not _known_raises
	some name, size in _sizes
}

# What a soft limit counts: destinations that neither the goal nor the contract names.
_asked[name] := number if {
	some fact, number in _raised
	name := object.get(_named_by, fact, fact)
	_ = _codes[name]
	not _counts_all(fact)
}

_asked[name] := size if {
	not _known_raises
	some name, size in object.union(_sizes, _unnamed_size)
}

_unnamed_size["destinations"] := input.session.unnamed_destinations if is_number(input.session.unnamed_destinations)

_named_by := {"unnamed_destinations": "destinations", "call_unnamed_destinations": "call_destinations"}

_counts_all(fact) if fact in ["destinations", "call_destinations"]

_above_hard := object.keys(_reached) - _within_hard

_within_hard contains name if {
	some name, size in _reached
	_is_within_hard(name, size)
}

_within contains name if {
	some name, number in _asked
	name in _within_hard
	_is_within_soft(name, number, input, bounds.soft_limits)
}

# A limit that is no number lets nothing pass.
_is_within_hard(name, size) if {
	hard := data.gateway.settings.task_limits[name].hard
	is_number(hard)
	size <= hard
}

# A person may have approved as much for this task before.
_is_within_soft(name, number, call, declared) if {
	not declared[name]
	soft := data.gateway.settings.task_limits[name].soft
	is_number(soft)
	number <= soft
} else if {
	number <= declared[name]
} else if {
	approved := call.session.approved[name]
	is_number(approved)
	number <= approved
}
