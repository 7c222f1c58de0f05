"""Where current values and histories are kept: in memory, in Redis, and the way there."""
