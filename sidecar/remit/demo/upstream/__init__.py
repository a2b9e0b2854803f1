"""The third parties that the agents call: a model API and an e-mail API, each a process with its own books."""
