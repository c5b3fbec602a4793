"""Agent code's side: submit, wait, follow, cancel, read back."""

from pipeline.client.client import Client
from pipeline.client.handle import Handle

__all__ = ["Client", "Handle"]
