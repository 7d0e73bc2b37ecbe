"""Runs a compiled graph on a real model: interventions, constrained optimization, verdict figures."""
