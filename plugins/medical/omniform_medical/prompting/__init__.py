"""Segment what a box or a click points at."""
