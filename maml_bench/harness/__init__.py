"""The harness: recipe in, Record out. It names no task distribution and no setup."""
