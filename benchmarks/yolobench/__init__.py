"""What the benchmarks are made of: control planes, loads, contenders, and what is read from the API server's audit log."""
