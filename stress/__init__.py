"""What the pipeline can take: load, faults, and what is left when they are over."""
