"""What a key of checkpoints signs: whose checkpoint it is, and its hash, which covers the rest."""

from signing import message

CHECKPOINTS = "checkpoints"
"""The signer of checkpoints, whatever service they are of."""

PAYLOAD_TYPE = b"application/vnd.backbone.checkpoint.v1"


def signed_content(service: str, checkpoint_hash: bytes) -> bytes:
    """Return the bytes that the signature of a checkpoint of `service` is of."""
    return message.encode(PAYLOAD_TYPE, service.encode() + b":" + checkpoint_hash)
