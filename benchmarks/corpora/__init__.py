"""Parts that all benchmarks on recorded tasks share: install a corpus, label its tools, replay it, count, and report."""
