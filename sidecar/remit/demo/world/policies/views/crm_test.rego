# METADATA
# title: Tests of what agents see of crm
package remit.views.crm_test

import data.remit.testing
import data.remit.views.crm

_asking(purpose, table, row) := object.union(testing.view("crm", table, {table: row}), {
	"subject": {"roles": ["analyst", "south"]},
	"context": {"purpose": purpose},
})

test_who_boards_sees_every_customer_and_no_order if {
	crm.include with input as _asking("onboarding", "customers", {"region": "north"})
	not crm.include with input as _asking("onboarding", "orders", {"region": "south"})
}

test_a_survey_shows_its_own_region if {
	every table in ["customers", "orders"] {
		crm.include with input as _asking("survey", table, {"region": "south"})
		not crm.include with input as _asking("survey", table, {"region": "north"})
	}
}

test_no_other_purpose_shows_anything if {
	every table in ["customers", "orders"] {
		not crm.include with input as _asking("", table, {"region": "south"})
	}
}

test_an_address_is_always_a_token if {
	every purpose in ["onboarding", "survey", ""] {
		masks := crm.masks with input as _asking(purpose, "customers", {})
		masks.customers.email == masks.orders.email
		masks.orders.email == {"tokenize": {"domain": "email"}}
	}
}

test_a_survey_shows_nothing_else_of_a_person if {
	masks := crm.masks with input as _asking("survey", "customers", {})
	every column in ["name", "iban", "tax_number", "note"] {
		masks.customers[column] == {"replace": {"value": null}}
	}
	masks.customers.income == {"bucket": {"width": 20000}}
}
