"""Pictures of a result: one picture a file."""
