"""The plumbing every service shares: settings, servers, clients, telemetry and lifecycle."""
