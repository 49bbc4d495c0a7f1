"""Do models learn recursion, or short-cuts? Functions on inductive datatypes, whose interpreter is exact."""
