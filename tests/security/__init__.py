"""Attacks: what a stranger, a neighbour or a rude client tries, and the refusal it must get."""
