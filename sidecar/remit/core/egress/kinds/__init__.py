"""What the ready-made kinds of service make of a request, one module a kind."""
