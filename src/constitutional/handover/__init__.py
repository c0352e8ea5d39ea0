"""Handing a run over to the RL engines of large models: our preference model as an HTTP service,
our prompts and settings as their files and commands."""
