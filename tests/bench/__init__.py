"""The benchmark: this server and its peers on the same work, side by side."""
