# METADATA
# scope: package
# title: What a task may do together with its children
# description: |
#   The numbers of `limits.task` and of contracts, the call included, over a task and all tasks below it. So work that
#   is split over many children meets the same limits. See docs/multi-agent.md.
# schemas:
#   - input: schema.input
package gateway.denials.tree

import data.gateway.bounds
import data.gateway.lib.reach

# METADATA
# title: Too much for a task with its children
# custom:
#   code: tree/limit
#   message: A task and the tasks below it have done together as much as one task may.
#   remedy: >-
#     Ask a person who may approve more for the tree, or open a task without a parent for the rest. Beyond the hard
#     limit only an operator can help: `limits.task` in gateway.yaml, under the name of the number.
#   controls: [ASI02, ASI08, ASI10]
denials contains {"code": "tree/limit", "facts": [_fact(place, name)]} if {
	some place, tree in input.session.trees
	some name, number in tree.raises
	not _is_named(name)
	not _reads_on(name)
	not _is_within_hard(name, number)
}

# METADATA
# title: A person decides whether a task with its children may do so much
# description: The yes holds for the task and all tasks below it, up to the number that the person was shown.
asks contains {"code": "tree/limit", "facts": [_fact(place, fact)], "limits": {limit: shown}} if {
	some place, tree in input.session.trees
	some fact, number in tree.raises

	# A soft limit on destinations counts what nobody named. A system that nobody named has a question of its own.
	not fact in ["destinations", "unnamed_systems"]
	not _reads_on(fact)
	name := object.get(_named_by, fact, fact)
	not _is_within_soft(name, number, tree)
	limit := concat(".", [tree.task, name])
	shown := _shown(name, number, tree)
}

_named_by := {"unnamed_destinations": "destinations"}

_is_named(name) if _ = _named_by[name]

_fact(place, name) := concat("/", ["/session/trees", format_int(place, 10), "raises", name])

# Refused calls of before are no reason to stop a plain read.
_reads_on(name) if {
	name == "denials"
	reach.reads_only(input)
}

# A limit that is no number lets nothing pass.
_is_within_hard(name, number) if {
	hard := data.gateway.settings.task_limits[name].hard
	is_number(hard)
	number <= hard
}

_is_within_soft(name, number, tree) if {
	number <= _soft(name, tree)
} else if {
	approved := tree.approved[name]
	is_number(approved)
	number <= approved
}

# What class, risk and sensitivity bound holds for a tree as for one task, and no contract of an agent moves it.
_soft(name, tree) := min([soft, object.get(bounds.row_limits, name, soft)]) if {
	soft := _unbounded(name, tree)
}

_unbounded(name, tree) := declared if {
	declared := tree.limits[name]
} else := soft if {
	soft := data.gateway.settings.task_limits[name].soft
	is_number(soft)
}

# Each call would ask again if an approval held for one more of these.
_shown(name, number, tree) := min({hard, number + _soft(name, tree)}) if {
	name in ["calls", "denials", "in_flight"]
	hard := data.gateway.settings.task_limits[name].hard
	is_number(hard)
} else := number
