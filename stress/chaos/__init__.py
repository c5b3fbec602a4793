"""The chaos run: load goes on while faults strike, one after the other, and the ledger tells what became of it."""
