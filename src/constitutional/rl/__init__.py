"""Reinforcement learning against a preference model."""
