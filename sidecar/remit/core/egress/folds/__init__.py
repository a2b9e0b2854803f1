"""One module a provider: how the events of its responses add up to a usage."""
