"""Filter, rank and repair what any code model suggests; nothing is executed."""
