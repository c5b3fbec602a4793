"""How fast conversations are archived, in how much memory, and what a long one costs its next request."""
