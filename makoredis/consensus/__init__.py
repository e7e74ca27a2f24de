"""Agreeing on a log: machines without clock, network or disk behind one interface.

In reading order: `types.py` and `messages.py` (what a log and a message are), `core.py` (the interface, and `Ready`,
the contract with a driver), `state.py` (the state of a Raft replica and a map of the protocol's parts), `raft.py`.
"""
