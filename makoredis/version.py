"""The version of makoredis itself (INFO's `redis_version` is a config key and says which Redis it answers like)."""

VERSION = "0.1.0"
