"""Reinforcement learning: policies, rollouts, policy losses and the trust region step."""
