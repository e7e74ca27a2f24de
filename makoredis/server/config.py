"""What the server is configured with. CONFIG GET/SET and the command line work on this."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Config:
    """Parameters with a meaning here; units in the names."""

    bind: list[str] = field(default_factory=lambda: ["127.0.0.1"])
    port: int = 6380
    directory: str = "./makoredis-data"
    durability: str = "sync"
    databases: int = 16
    maxclients: int = 10_000
    requirepass: bytes = b""
    is_protected_mode: bool = True
    timeout_seconds: int = 0
    maxmemory_bytes: int = 0
    redis_version: str = "7.2.4"
    output_limits: dict[str, tuple[int, int, int]] = field(
        default_factory=lambda: {
            "normal": (0, 0, 0),
            "replica": (256 * 1024 * 1024, 64 * 1024 * 1024, 60),
            "pubsub": (32 * 1024 * 1024, 8 * 1024 * 1024, 60),
        }
    )
