"""Benchmarks of fastfc: the report against other libraries (`python -m bench.report`) and pytest-benchmark cases."""
