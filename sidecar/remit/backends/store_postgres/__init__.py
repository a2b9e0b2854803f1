"""The store on PostgreSQL, which the members of one installation share."""
