"""Three agents that board customers. They know `seam.Powers` and nothing else: not whether Remit stands behind it."""
