"""The faults, one file a family. Importing this declares them all."""

from stress.chaos.faults import broker, delivery, postgres, provider, rollout, storage, workers

__all__ = ["broker", "delivery", "postgres", "provider", "rollout", "storage", "workers"]
