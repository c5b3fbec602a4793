"""Celery by hand: what one would write without the pipeline, and tuned as well as we can.

Nothing is kept of a request that fails, nothing is run again, and nothing keeps a session's order.
"""
