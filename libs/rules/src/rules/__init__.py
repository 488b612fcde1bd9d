"""What Backbone decides with: patterns, expressions, decisions, schedules. Pure, so repeatable."""
