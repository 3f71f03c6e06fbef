"""Recipe files: TOML, one [[recipe]] per paper row; see maml_bench.harness.recipe for the keys."""
