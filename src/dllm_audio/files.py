"""The one place that writes files atomically, keeps JSON Lines, and reads JSON of strangers."""
