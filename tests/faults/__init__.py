"""Proof tooling: faults on purpose, a history of what happened, and a checker of the promises."""
