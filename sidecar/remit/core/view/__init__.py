"""Data views: an agent's statement over the catalogue's tables, and what it becomes before a database sees it."""
