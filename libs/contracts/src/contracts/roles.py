"""The roles that an identity may hold; every RPC names those that may call it."""

from enum import StrEnum


class Role(StrEnum):
    """A set of RPCs. Roles do not include one another: an identity holds each it needs."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    AUTHOR = "author"
    ASSIGNEE = "assignee"
    TASK_WORKER = "task-worker"
    SERVICE = "service"
