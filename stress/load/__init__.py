"""The load: who sends when, the processes that send, and what came back."""
