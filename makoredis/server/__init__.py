"""Clients: connections, dispatch, blocking, pub/sub, ACL, limits.

Reading order: `reactor` (the turn) → `session` (one connection) → `dispatch` (from a request to its reply) → `routes`
(which command is answered where) → `commands/` (those on the connection and the server).
"""
