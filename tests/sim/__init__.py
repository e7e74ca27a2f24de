"""Whole systems in one thread, from one seed."""
