# METADATA
# title: What agents see of crm
# description: |
#   Who boards a customer may look at any; a survey shows the customers and orders of the agent's own region. Addresses
#   are tokens, the same ones in both tables.
# schemas:
#   - input: schema.views.crm
# custom:
#   owner: cx
package remit.views.crm

include if {
	input.resource.operation == "customers"
	input.context.purpose == "onboarding"
}

include if {
	input.context.purpose == "survey"
	input.customers.region in input.subject.roles
}

include if {
	input.context.purpose == "survey"
	input.orders.region in input.subject.roles
}

masks.customers.email.tokenize := {"domain": "email"}

masks.orders.email.tokenize := {"domain": "email"}

masks.customers.name := _nothing if _survey

masks.customers.iban := _nothing if _survey

masks.customers.tax_number := _nothing if _survey

masks.customers.note := _nothing if _survey

masks.customers.income := {"bucket": {"width": 20000}} if _survey

_nothing := {"replace": {"value": null}}

_survey if input.context.purpose == "survey"
