# METADATA
# scope: package
# title: Calls that fan out
# description: |
#   How far the task has reached, the call included: set sizes, which history keeps. A call that raises a number above
#   its hard limit is refused. Above the soft limit a person is asked, once for a number. See docs/policy/history.md.
# schemas:
#   - input: schema.input
package gateway.denials.fan_out

import data.gateway.lib.reach

# METADATA
# title: What refuses the call, or a person has to approve
found(call) := set() if {
	clear(call)
} else := findings

# METADATA
# title: What all rules below find
findings := denials | {object.union(ask, {"approvable": true}) | some ask in asks}

# METADATA
# title: Nothing here holds against the call
# description: |
#   One look at all facts, for the many calls of small tasks. A difference exists between numbers only, so a limit or a
#   fact that is none makes nothing clear. First the smallest of tasks, which has reached this one system alone.
clear(call) if {
	properties := call.resource.properties
	here := [properties.audience]
	session := call.session
	session.audiences == here
	session.audiences_in_window == here
	session.write_audiences in [[], here]
	session.call_destinations == []
	session.tenants in [[], [object.get(properties, "tenant", "")]]
	session.environments == [properties.environment]
	settings := data.gateway.settings
	limits := settings.task_limits
	limits.audiences.soft - 1 >= 0
	limits.audiences_in_window.soft - 1 >= 0
	limits.write_audiences.soft - 1 >= 0
	limits.call_destinations.soft - 0 >= 0
	limits.call_own_destinations.soft - object.get(session, "call_own_destinations", 0) >= 0
	limits.tenants.soft - 1 >= 0
	limits.environments.soft - 1 >= 0
	limits.destinations.soft - session.destinations >= 0
	limits.own_destinations.soft - object.get(session, "own_destinations", 0) >= 0
	limits.spread.soft - session.spread >= 0
	limits.depth.soft - session.depth >= 0
	_is_plain(call)
} else if {
	settings := data.gateway.settings
	limits := settings.task_limits
	session := call.session

	# Objects and texts have a count too. In the order of all values, arrays begin with `[]`, and end before `{}`.
	every list in [
		session.audiences, session.audiences_in_window, session.write_audiences,
		session.call_destinations, session.tenants, session.environments,
	] {
		list >= []
		list < {}
	}
	limits.audiences.soft - count(session.audiences) >= 0
	limits.audiences_in_window.soft - count(session.audiences_in_window) >= 0
	limits.write_audiences.soft - count(session.write_audiences) >= 0
	limits.call_destinations.soft - count(session.call_destinations) >= 0
	limits.call_own_destinations.soft - object.get(session, "call_own_destinations", 0) >= 0
	limits.tenants.soft - count(session.tenants) >= 0
	limits.environments.soft - count(session.environments) >= 0
	limits.destinations.soft - session.destinations >= 0
	limits.own_destinations.soft - object.get(session, "own_destinations", 0) >= 0
	limits.spread.soft - session.spread >= 0
	limits.depth.soft - session.depth >= 0
	_is_plain(call)
}

# METADATA
# title: History does not know how far the task has reached
# custom:
#   code: fan-out/incomplete
#   message: The gateway does not know how far this task has reached, so it lets it reach no further.
#   remedy: Send smaller arguments if they are very large; else an operator should check the history of the gateway.
#   controls: [ASI08, MCP08]
denials contains {"code": "fan-out/incomplete", "facts": facts} if {
	facts := sort({concat("/", ["/session", name]) | some name in _unknown})
	facts != []
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
denials contains {"code": "fan-out/writes", "facts": _facts.write_audiences} if {
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
	some name in _above_soft
	name != "unnamed_systems"
	code := _codes[name]
	facts := _facts[name]
	number := _asked[name]
}

# METADATA
# title: A person decides whether the task may write to a system that nobody has named
# description: |
#   For this system alone, so the approval holds up to no number: several calls at once would show the number of all.
asks contains {"code": "fan-out/unnamed-system", "facts": _unnamed_facts} if {
	"unnamed_systems" in _above_soft
}

# A call that changes nothing raises neither of the two numbers.
_facts[name] := array.concat(_labels(name), [concat("/", ["/session", name])]) if {
	some name in object.keys(_codes)
}

_unnamed_facts := array.concat(["/session/labels/untrusted"], _facts.unnamed_systems)

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

_sizes[name] := count(list) if {
	some name in _lists
	list := input.session[name]
	is_array(list)
}

_sizes[name] := input.session[name] if {
	some name in ["destinations", "own_destinations", "call_own_destinations", "spread", "depth"]
	is_number(input.session[name])
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

_depth_known if _ = _sizes.depth

# Depth has its own rule. What lies in own domains is known where all destinations are. Most tasks write to no system
# that nobody has named.
_optional := {"depth", "own_destinations", "call_own_destinations", "unnamed_systems"}

_unknown := (object.keys(_codes) - object.keys(_sizes)) - _optional

# The contract states no limit, and the call is no first write to a system that nobody has named.
_is_plain(call) if {
	object.get(call.context.task, ["contract", "limits"], {}) == {}
	not call.session.raises.unnamed_systems
	_names_systems(call)
}

_names_systems(call) if {
	not call.session.unnamed_systems
} else if {
	is_object(call.session.raises)
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
	some name, _ in _codes
	number := _raised[name]
}

_reached[name] := size if {
	not _known_raises
	some name, size in _sizes
}

# What a soft limit counts: destinations that neither the goal nor the contract names.
_asked[name] := number if {
	some name, _ in _codes
	fact := object.get(_unnamed, name, name)
	number := _raised[fact]
}

_asked[name] := size if {
	not _known_raises
	some name, size in object.union(_sizes, _unnamed_size)
}

_unnamed_size["destinations"] := input.session.unnamed_destinations if is_number(input.session.unnamed_destinations)

_unnamed := {"destinations": "unnamed_destinations", "call_destinations": "call_unnamed_destinations"}

_above_hard := object.keys(_reached) - _within_hard

_above_soft := object.keys(_asked) - (_within_soft & _within_hard)

# A number is less than every text and more than what is neither; so a limit that is none lets nothing pass.
_within_hard contains name if {
	settings := data.gateway.settings
	limits := settings.task_limits
	some name, size in _reached
	hard := limits[name].hard
	size <= hard
	hard < ""
}

_within_soft contains name if {
	settings := data.gateway.settings
	limits := settings.task_limits
	some name, size in _asked
	not _declared[name]
	soft := limits[name].soft
	size <= soft
	soft < ""
}

_within_soft contains name if {
	some name, limit in _declared
	_asked[name] <= limit
}

# A person has approved as much for this task before.
_within_soft contains name if {
	some name, size in _asked
	number := input.session.approved[name]
	is_number(number)
	size <= number
}

# What the contract of the task says in place of soft limits.
_declared[name] := limit if {
	some name, limit in input.context.task.contract.limits
	is_number(limit)
}
