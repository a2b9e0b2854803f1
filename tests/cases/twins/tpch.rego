# What the clerk sees of TPC-H; tpch.sql says the same for PostgreSQL's own row-level security.
package remit.views.tpch

clerk if input.subject.id == "clerk"

include if input.subject.id == "all"

include if {
	clerk
	not input.lineitem.l_shipmode == "FOB"
	input.lineitem.l_quantity <= 45
}

include if {
	clerk
	input.orders.o_totalprice < 250000
}

include if {
	clerk
	startswith(input.orders.o_orderpriority, "1")
}

include if {
	clerk
	input.customer.c_mktsegment in ["BUILDING", "AUTOMOBILE", "HOUSEHOLD", "MACHINERY"]
}

include if {
	clerk
	input.supplier.s_acctbal > -500
}

include if {
	clerk
	input.resource.operation in {"part", "partsupp", "nation", "region"}
}

masks.customer.c_name := {"tokenize": {}} if clerk

masks.customer.c_address := {"hash": {}} if clerk

masks.customer.c_phone := {"partial": {"first": 2}} if clerk

masks.customer.c_acctbal := {"round": {"places": 0}} if clerk

masks.customer.c_comment := {"replace": {"value": null}} if clerk

masks.supplier.s_phone := {"partial": {"last": 4}} if clerk

masks.supplier.s_address := {"hash": {}} if clerk

masks.supplier.s_comment := {"replace": {"value": "Customer Complaints"}} if clerk

masks.orders.o_totalprice := {"bucket": {"width": 1000}} if clerk

masks.orders.o_comment := {"replace": {"value": null}} if clerk

masks.lineitem.l_extendedprice := {"round": {"places": 1}} if clerk

masks.partsupp.ps_supplycost := {"bucket": {"width": 10}} if clerk
