"""From observing to enforcing: what was seen, what would admit it, and what would not."""
