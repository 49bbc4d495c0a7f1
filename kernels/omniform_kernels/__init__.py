"""Numerics behind omniform's mixers: a folder an op, with its definition, its fast form and one public function."""
