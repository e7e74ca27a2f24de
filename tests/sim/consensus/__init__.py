"""Consensus alone: many replicas, a bad network, bad disks, one seed."""
