"""What it costs that a request is seen: `python -m stress.observing_cost`."""
