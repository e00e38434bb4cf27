# METADATA
# scope: package
# title: Calls that fan out
# description: |
#   How far the task has reached, the call included: set sizes, which history keeps. A call that raises a number above
#   its hard limit is refused. Above the soft limit a person is asked, once for a number. See docs/policy/history.md.
# schemas:
#   - input: schema.input
package gateway.denials.fan_out

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
	object.get(call.context.task, ["contract", "limits"], {}) == {}
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
	object.get(call.context.task, ["contract", "limits"], {}) == {}
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
#   remedy: Finish this task and open another for the rest. A contract that says so can raise the first limit.
#   controls: [ASI02, ASI08, MCP06]
denials contains {"code": "fan-out/audiences", "facts": ["/session/audiences"]} if "audiences" in _above_hard

# METADATA
# title: Too many systems at once
# custom:
#   code: fan-out/burst
#   message: The task reaches more systems within a minute than one task should.
#   remedy: Wait a minute before calling another system.
#   controls: [ASI02, ASI08, ASI10]
denials contains {"code": "fan-out/burst", "facts": ["/session/audiences_in_window"]} if {
	"audiences_in_window" in _above_hard
}

# METADATA
# title: Too many systems that are written to
# custom:
#   code: fan-out/writes
#   message: The task writes to more systems than one task should.
#   remedy: Finish this task and open another for the rest. A contract that says so can raise the first limit.
#   controls: [ASI02, ASI08]
denials contains {"code": "fan-out/writes", "facts": ["/session/write_audiences"]} if "write_audiences" in _above_hard

# METADATA
# title: Too many destinations
# custom:
#   code: fan-out/destinations
#   message: The call or its task sends to more destinations than it should.
#   remedy: Send to fewer, or open another task for the rest. A contract that says so can raise the first limit.
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
#   remedy: Use what an untrusted source said in one system only.
#   controls: [ASI01, ASI06, ASI08, MCP06]
denials contains {"code": "fan-out/spread", "facts": ["/session/spread"]} if "spread" in _above_hard

# METADATA
# title: Too many hands between the user and the system
# custom:
#   code: fan-out/depth
#   message: Too many agents and aggregators stand between the user and the system, or nobody knows how many.
#   remedy: >-
#     Call from an agent that is nearer to the user. If the upstream passes calls on to others, an operator should
#     declare which in its configuration.
#   controls: [ASI03, ASI07, ASI08]
denials contains {"code": "fan-out/depth", "facts": ["/session/depth"]} if "depth" in _above_hard

# METADATA
# title: Nobody knows through how many hands the call goes
denials contains {"code": "fan-out/depth", "facts": ["/session/depth"]} if not _depth_known

# METADATA
# title: Several tenants
# custom:
#   code: fan-out/tenants
#   message: One task may reach the systems of one tenant only.
#   remedy: Open a task for each tenant.
#   controls: [ASI03, MCP10, NHI8]
denials contains {"code": "fan-out/tenants", "facts": ["/session/tenants"]} if "tenants" in _above_hard

# METADATA
# title: Several environments
# custom:
#   code: fan-out/environments
#   message: One task may reach the systems of one environment only.
#   remedy: Open a task for each environment.
#   controls: [ASI03, NHI8]
denials contains {"code": "fan-out/environments", "facts": ["/session/environments"]} if "environments" in _above_hard

# METADATA
# title: A person decides whether the task may reach so far
# description: Under the codes of the rules above, whose soft limits these are.
asks contains {"code": code, "facts": [concat("/", ["/session", name])], "limits": {name: number}} if {
	some name in _above_soft
	code := _codes[name]
	number := _asked[name]
}

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
	"write_audiences",
]

_depth_known if _ = _sizes.depth

# Depth has its own rule. What lies in own domains is known where all destinations are.
_unknown := (object.keys(_codes) - object.keys(_sizes)) - {"depth", "own_destinations", "call_own_destinations"}

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
