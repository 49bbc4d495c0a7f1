"""Vulnerabilities in snippets that are still being typed: which type the statement at the cursor brings, if any."""
