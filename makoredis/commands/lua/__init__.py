"""The Lua scripting engine: redis-server 7.0's environment for scripts and functions on a stock Lua 5.1 (pure).

Reading order: `interpreter` (one Lua state, and what crosses its border) → `sandbox.lua`, `values.lua`, `redis.lua`
(the environment of user code) → `crossing`, `tailcalls` → `scripts`, `function_libraries` → `run` (what a script may do
to the keyspace) → `engine`. `cjson.lua`, `cmsgpack.lua`, `struct.lua` and `bit.lua` stand for the C libraries that
redis-server links in.

What is left out: the debugger (SCRIPT DEBUG), and `redis.set_repl` has no effect, since effects are always replicated.
"""
