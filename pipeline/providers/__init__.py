"""Providers: endpoints that answer with a language model."""
