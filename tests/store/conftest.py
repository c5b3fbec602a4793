from __future__ import annotations

from tests.store.fixtures import desk, emptied_between_tests, ledger_url, sql, store

__all__ = ["desk", "emptied_between_tests", "ledger_url", "sql", "store"]
