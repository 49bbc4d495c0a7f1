"""Analysis: what a network of attention can compute, and what one that was trained does compute."""
