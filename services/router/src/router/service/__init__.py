"""The use cases: route records, start runs by hand, work dead letters off, take events by HTTP."""
