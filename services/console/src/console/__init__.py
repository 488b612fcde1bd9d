"""The operators' web page: server-rendered, over the gRPC APIs only."""
