"""What metrics keep in Postgres, and what they read from it."""
