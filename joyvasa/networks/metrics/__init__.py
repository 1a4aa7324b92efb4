"""Networks used by metrics."""
