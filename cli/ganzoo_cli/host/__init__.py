"""What commands share; the only part of the command line that plugins may import."""
