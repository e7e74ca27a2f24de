"""Commands on the connection and on the server: `handler(server, session, *arguments) -> Reply | NO_REPLY`."""
