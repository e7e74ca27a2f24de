"""Raft, told step by step."""
