"""What a run came to: as figures, as text, as JSON, as a page; and what changed between two."""
