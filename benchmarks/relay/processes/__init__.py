"""Programs that the benchmark runs beside itself, one process each."""
