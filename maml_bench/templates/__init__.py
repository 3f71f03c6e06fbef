"""The files that ``maml-bench new`` starts a user's own code with. The name in each of them is replaced."""
