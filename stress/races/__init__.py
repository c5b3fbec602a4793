"""Every verb of the ledger from many threads at once, over a few users: what two of them do to each other."""
