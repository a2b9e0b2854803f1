package remit.rules.budgets.room_test

import data.remit.rules.budgets.room
import data.remit.testing

budget(limit, spent, held) := {
	"id": "b",
	"window": "",
	"limit": limit,
	"spent": spent,
	"held": held,
	"elapsed": 0,
}

denied(amount, budgets) := codes if {
	request := testing.call({"facts": {"estimate": {"amount": amount}, "budgets": budgets}})
	codes := room.deny with input as request
}

exhausted := {"budget_exhausted"}

test_no_budget_is_room_enough if {
	denied(1000, []) == set()
}

test_what_fits_exactly_fits if {
	denied(10, [budget(100, 60, 30)]) == set()
	denied(0.03, [budget(3, 2.97, 0)]) == set()
	denied(0.1, [budget(0.3, 0.1, 0.1)]) == set()
	denied(0.000000001, [budget(123456789.123456789, 123456789.123456788, 0)]) == set()
}

test_a_billionth_more_does_not if {
	denied(10.000000001, [budget(100, 60, 30)]) == exhausted
	denied(0.030000001, [budget(3, 2.97, 0)]) == exhausted
	denied(0.000000002, [budget(123456789.123456789, 123456789.123456788, 0)]) == exhausted
}

test_what_is_held_is_not_free if {
	denied(1, [budget(10, 0, 9.5)]) == exhausted
}

test_every_budget_needs_room if {
	denied(1, [budget(10, 0, 0), budget(10, 9.5, 0)]) == exhausted
	denied(1, [budget(10, 9.5, 0), budget(10, 0, 0)]) == exhausted
	denied(1, [budget(10, 9, 0), budget(10, 0, 0)]) == set()
}

test_an_overspent_budget_has_no_room_for_anything if {
	denied(0, [budget(10, 11, 0)]) == exhausted
}

test_what_is_no_number_does_not_fit if {
	denied(null, [budget(10, 0, 0)]) == exhausted
	denied("1", [budget(10, 0, 0)]) == exhausted
	denied(1, [budget(10, null, 0)]) == exhausted
}
