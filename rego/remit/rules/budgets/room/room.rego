# METADATA
# title: Every budget has room
# description: |
#   The estimate must fit into what each matching budget has neither spent nor set aside. The store decides this again,
#   and finally, when it reserves the money.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     budget_exhausted: "a budget has no room for {facts.estimate.amount}"
package remit.rules.budgets.room

deny contains "budget_exhausted" if not _room

_room if {
	every budget in input.facts.budgets {
		sum([budget.spent, budget.held, input.facts.estimate.amount, _rounding]) <= budget.limit
	}
}

# Sums of fractions are not exact (2.97 + 0.03 may exceed 3 by 1e-19), and the last call that fits has to fit: half of
# the ledger's unit, a billionth, tells a rounding error from a real excess.
_rounding := -0.0000000005
