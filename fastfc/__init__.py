"""fastfc: train a fully connected network on a CPU, fast and readable."""
