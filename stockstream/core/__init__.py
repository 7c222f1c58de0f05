"""The rules of the house: pure and synchronous; clock and randomness come in as arguments."""
