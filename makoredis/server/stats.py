"""Counters of one server, for INFO."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Stats:
    """Since start or CONFIG RESETSTAT."""

    connections_received: int = 0
    rejected_connections: int = 0
    input_bytes: int = 0
    output_bytes: int = 0
    protocol_errors: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    """Error replies by their code."""
    turns: int = 0
