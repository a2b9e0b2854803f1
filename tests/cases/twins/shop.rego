# What each agent sees of the shop; shop.sql says the same for PostgreSQL's own row-level security.
package remit.views.shop

north if input.subject.id == "north"

south if input.subject.id == "south"

west if input.subject.id == "west"

include if input.subject.id == "all"

# north

include if {
	north
	input.customers.region in ["eu", "us"]
}

include if {
	north
	input.customers.parent_id == null
	input.customers.score != null
}

include if {
	north
	input.orders.amount >= 0
	not input.orders.status == "eu"
}

include if {
	north
	input.items.qty < 10
	input.items.label != "zz"
}

include if {
	north
	startswith(input.items.label, "a")
}

include if {
	north
	input.products.kind in ["low", "mid"]
}

include if {
	north
	not input.products.price > 3
}

# south

include if {
	south
	input.customers.id != input.customers.parent_id
	not input.customers.active == true
}

include if {
	south
	endswith(input.customers.email, ".io")
}

include if {
	south
	contains(input.orders.status, "n")
}

include if {
	south
	input.orders.paid == true
	not input.orders.region in ["eu", "zz"]
}

include if {
	south
	input.items.order_id <= input.items.product_id
}

include if {
	south
	input.items.opens >= "08:30:00"
	input.items.price == null
}

include if {
	south
	input.resource.operation == "products"
}

# west

include if {
	west
	input.customers.seen > "2023-12-01T00:00:00+00:00"
	not contains(input.customers.name, "b")
}

include if {
	west
	input.customers.born < "2024-01-01"
	input.customers.code != "00000001-0000-4000-8000-000000000001"
}

include if {
	west
	not input.orders.rate <= 1.5
	input.orders.placed >= "2024-01-01 00:00:00"
}

include if {
	west
	input.orders.qty in [1, 2, null]
}

include if {
	west
	input.items.id > 3
	not input.items.qty == input.items.order_id
	input.items.price <= 99.75
}

include if {
	west
	input.products.made == "2024-02-29"
}

masks.customers.email := {"hash": {}} if north

masks.customers.email := {"tokenize": {"domain": "mail"}} if south

masks.customers.name := {"partial": {"last": 2}} if north

masks.customers.name := {"tokenize": {"domain": "mail"}} if south

masks.customers.name := {"replace": {"value": "somebody"}} if west

masks.customers.score := {"bucket": {"width": 2}} if north

masks.customers.balance := {"round": {"places": 0}} if north

masks.customers.balance := {"bucket": {"width": 100}} if south

masks.customers.born := {"bucket": {"unit": "month"}} if north

masks.customers.seen := {"bucket": {"unit": "day"}} if north

masks.customers.seen := {"bucket": {"unit": "week"}} if west

masks.customers.code := {"hash": {}} if south

masks.customers.notes := {"replace": {"value": null}} if south

masks.customers.active := {"replace": {"value": true}} if west

masks.customers.parent_id := {"bucket": {"width": 3}} if west

masks.orders.status := {"partial": {"first": 1}} if north

masks.orders.status := {} if south

masks.orders.amount := {"bucket": {"width": 10}} if north

masks.orders.ordered := {"bucket": {"unit": "year"}} if north

masks.orders.placed := {"bucket": {"unit": "hour"}} if south

masks.orders.qty := {"bucket": {"width": 5}} if south

masks.orders.rate := {"round": {"places": 1}} if south

masks.orders.paid := {"replace": {"value": false}} if south

masks.orders.status := {"tokenize": {}} if west

masks.items.label := {"replace": {"value": "hidden"}} if north

masks.items.took := {"replace": {"value": null}} if north

masks.items.raw := {"hash": {}} if north

masks.items.price := {"replace": {"value": null}} if south

masks.items.opens := {"replace": {"value": "00:00:00"}} if south

masks.items.price := {"replace": {"value": 2.25}} if west

masks.items.qty := {"replace": {"value": 7}} if west

masks.products.name := {"tokenize": {"domain": "mail"}} if south

masks.products.price := {"round": {"places": 0}} if south

masks.products.kind := {"hash": {}} if south

masks.products.made := {"replace": {"value": "2000-01-01"}} if south

masks.products.tags := {"replace": {"value": "1"}} if south

masks.products.name := {"hash": {}} if west
