"""Whole clusters in one thread: real servers, executors and consensus; simulated time, network and disks."""
