"""The servers that are measured, each a process of its own, all told alike what to publish."""
