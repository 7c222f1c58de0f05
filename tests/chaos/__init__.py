"""Many nodes as one while they die: the proof, short in the tests and long in `scripts/chaos`."""
