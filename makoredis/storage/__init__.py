"""The disk: the log of all shards in one synced batch per turn, and checkpoints of their state.

Reading order: `layout` (what is on the disk) → `engine` (LevelDB behind an interface) → `log`, `state` (which rows to
write) → `disk` (the thread that writes them) → `directory`, `synced`, `store` (opening what is there, and refusing what
is damaged) → `space` (a full disk).
"""
