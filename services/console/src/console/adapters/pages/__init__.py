"""The areas, one module each: `AREA`, its pages and its actions."""
