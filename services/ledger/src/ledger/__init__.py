"""What happened: runs, their tasks, the due times of schedules, and the events that say so."""
