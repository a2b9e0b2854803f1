# METADATA
# title: What the benchmark sees of customers
package remit.views.crm

include if input.customers.region == "eu"

masks.customers.email := {"partial": {"last": 4}}
