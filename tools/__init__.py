"""What people run beside the server: benchmarks and the generators of documentation."""
