"""Transcripts: what happens, told line by line."""
