"""The `Store` port of a sidecar among others: PostgreSQL, and ahead of it what may be decided on the spot."""
