# METADATA
# scope: package
# title: The place of an overlay
# description: |
#   What families of your own add to the shipped ones: nothing, as long as there are none. A gateway with
#   `policy.overlay`, and `opagate policy build`, write this file anew, with lines for each family of the overlay. They
#   can only add: see docs/policy/writing-policy.md.
# schemas:
#   - input: schema.input
package gateway.overlay

# METADATA
# title: What refuses the call by the families of the overlay
denials := set()

# METADATA
# title: What a person has to approve by the families of the overlay
asks := set()

# METADATA
# title: The obligations of the overlay that say who may approve
approvers := []

# METADATA
# title: The obligations of the shipped policy and the other ones of the overlay
with_own(obligations) := obligations if obligations >= []

# METADATA
# title: The overlay keeps a target out of lists
hides(resource) if not resource
