"""The Celery tasks: how a request, and the upkeep, look from Celery's side."""
