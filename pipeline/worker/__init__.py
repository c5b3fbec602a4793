"""What runs in a worker process beside Celery: its lease, what it holds, recovery."""
