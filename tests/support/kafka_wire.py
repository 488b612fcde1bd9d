"""What no Kafka client would send or show, said to the broker byte by byte."""

import socket
import struct
import time


def produce_with_header_name(bootstrap: str, topic: str, header: bytes, value: bytes) -> None:
    """Produce a record whose header's name is any bytes, to partition 0 of `topic`."""
    answer = _ask(bootstrap, _produce_request(topic, header, value))
    code = 4 + 4 + 2 + len(topic) + 4 + 4  # id, topics, name, partitions, index
    assert struct.unpack_from(">h", answer, code) == (0,), answer


def advertised(bootstrap: str) -> str:
    """Return the host:port by which the listener at `bootstrap` tells clients to go on.

    A client library goes on itself, and then asks another listener or nobody at all.
    """
    metadata_of_no_topic = struct.pack(">hhih", 3, 1, 1, 4) + b"test" + struct.pack(">i", 0)
    answer = _ask(bootstrap, metadata_of_no_topic)
    brokers, length = struct.unpack_from(">i4xh", answer, 4)
    assert brokers == 1, answer
    host = answer[14 : 14 + length].decode()
    (port,) = struct.unpack_from(">i", answer, 14 + length)
    return f"{host}:{port}"


def _ask(bootstrap: str, request: bytes) -> bytes:
    host, _, port = bootstrap.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (length,) = struct.unpack(">i", _exactly(connection, 4))
        return _exactly(connection, length)


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        data += connection.recv(length - len(data))
    return data


def _produce_request(topic: str, header: bytes, value: bytes) -> bytes:
    """A Produce request of version 7 to partition 0, with one record of one header."""
    record = b"\0" + _varint(0) + _varint(0) + _varint(-1) + _varint(len(value)) + value
    record += _varint(1) + _varint(len(header)) + header + _varint(1) + b"1"
    now = int(time.time() * 1000)
    counted = struct.pack(">hiqqqhii", 0, 0, now, now, -1, -1, -1, 1)
    counted += _varint(len(record)) + record
    tail = struct.pack(">ibI", -1, 2, _crc32c(counted)) + counted
    batch = struct.pack(">qi", 0, len(tail)) + tail
    name = topic.encode()
    body = struct.pack(">hhii", -1, -1, 10_000, 1) + struct.pack(">h", len(name)) + name
    body += struct.pack(">iii", 1, 0, len(batch)) + batch
    return struct.pack(">hhih", 0, 7, 1, 4) + b"test" + body


def _varint(number: int) -> bytes:
    rest, out = (number << 1) ^ (number >> 63), bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
