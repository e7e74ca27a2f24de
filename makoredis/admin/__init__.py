"""Looking at nodes and starting them; nothing here changes data."""
