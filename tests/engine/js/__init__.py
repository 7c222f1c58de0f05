"""Real JavaScript clients on a bad network."""
