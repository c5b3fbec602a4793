"""How messages travel: a kombu transport for a broker that may forget, because the ledger does not.

`broker.Transport` is named in `celeryconfig.py`, `worker.Consumer` runs it in a worker, `publish.Publisher`
sends without Celery. `garbage.on_garbage` hears of every message that had to be thrown away.
"""
