"""What every layer may use: ids, records, the three kinds of error, the hybrid clock, the configuration file."""
