"""A provider that is not one: an OpenAI-compatible server whose behaviour is scripted and seeded."""

from pipeline.providers.simulator.behaviour import Behaviour, Fault, Fixed, Lognormal, Uniform
from pipeline.providers.simulator.server import Simulator, serve

__all__ = ["Behaviour", "Fault", "Fixed", "Lognormal", "Simulator", "Uniform", "serve"]
