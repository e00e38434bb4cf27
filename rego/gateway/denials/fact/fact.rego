# METADATA
# scope: package
# title: Denials about the facts that an author declares
# description: The facts stand in `facts.yaml`, and rules read them as `input.facts` and `input.facts_before`.
# schemas:
#   - input: schema.input
package gateway.denials.fact

# METADATA
# title: A declared fact lacks something
# description: A number that may be too small holds no limit, so the call is refused whatever the rules make of it.
# custom:
#   code: fact/incomplete
#   message: The gateway cannot tell what came before this call, so no limit on it would hold.
#   remedy: Give each amount as a number, and each name as one text.
#   controls: [ASI02, ASI08]
denials contains {"code": "fact/incomplete", "facts": ["/facts_incomplete"]} if {
	_ = input.facts_incomplete
	not input.facts_incomplete == []
}
