"""The attack: a small perturbation or a suffix that recovers the behavior."""
