"""BFCL's and tau2's own answers, replayed on the shipped policy without a model. docs/benchmarks/unfamiliar.md explains it."""
