"""The pipeline: facts → ask → reserve → record → answer → settle; every call ends in one durable record."""
