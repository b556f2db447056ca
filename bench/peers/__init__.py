"""Other libraries on the same workloads, each in a worker process of the peers' environment."""
