"""The rules of the house: pure and synchronous, with clock and randomness as arguments."""
