"""The registry: versioned definitions, and the schedules they ask for."""
