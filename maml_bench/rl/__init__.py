"""Reinforcement learning: policies, rollouts and the losses that make an Episode of them."""
