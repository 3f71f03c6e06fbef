"""What every setup, family of tasks and network promises, as checks that the tests and ``maml-bench check`` share."""
