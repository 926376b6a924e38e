"""Configuration of the service; here because the command line writes and checks it too."""

import os
import socket

from pydantic import BaseModel, Field, SecretStr


class ServeConfig(BaseModel, frozen=True, extra="forbid"):
    """How the service listens, what it accepts and how long it waits."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    workers: int = Field(1, ge=1, le=64, description="processes; they share the mapped vectors")
    poll_seconds: float = Field(
        0.5,
        gt=0,
        le=60,
        description="how often a worker looks whether another build went live; whether "
        "users were erased or labels changed, every two seconds or more often",
    )
    delta_seconds: float = Field(
        5.0,
        ge=0,
        le=86_400,
        description="how often a worker looks into the lake for users who came or changed since "
        "the build, and embeds them; 0 is never",
    )
    body_max_bytes: int = Field(
        8 * 1024 * 1024, ge=1024, description="largest request body; a larger one answers 413"
    )
    body_timeout_seconds: float = Field(
        15.0, gt=0, description="how long a client may take to send its body"
    )
    connections_max: int = Field(
        1024, ge=1, description="open requests per worker; above it the answer is 503"
    )
    work_threads: int = Field(
        1, ge=1, le=64, description="threads per worker for embedding, batches and risk"
    )
    remote_threads: int = Field(
        4,
        ge=1,
        le=64,
        description="threads per worker for searches that wait for a vector database; they hold up "
        "no other work",
    )
    work_queue_max: int = Field(
        32, ge=1, description="heavy requests that wait per worker; above it the answer is 503"
    )
    work_timeout_seconds: float = Field(
        30.0, gt=0, description="how long a heavy request may wait and run"
    )
    inline_max_multiplications: int = Field(
        4_000_000,
        ge=0,
        description="an exact search of at most this many (users × dimensions) runs in the event "
        "loop, about a millisecond; a larger one in a thread",
    )
    audit_queue_max: int = Field(
        100_000,
        ge=10_000,
        description="audit rows that wait to be written; when full, reads are refused with 503",
    )
    audit_flush_seconds: float = Field(
        1.0, gt=0, le=10, description="audit rows are written at the latest after this time"
    )
    session_hours: float = Field(
        8.0, gt=0, le=24 * 30, description="how long one stays signed in on the page"
    )
    session_secret: SecretStr | None = Field(
        None,
        min_length=32,
        description="signs the page's sessions and keys the hashes of user ids in logs; the same "
        "for all replicas; without one each start draws its own, which signs everybody out",
    )
    shutdown_seconds: int = Field(
        20, ge=1, description="how long open requests may go on when the service stops"
    )


def check_address(host: str, port: int) -> None:
    """Bind an address and let it go again: better told now than after everything is loaded.

    Raises:
        OSError: If the service could not listen there, in a line that names the address.
    """
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind, protocol) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind(address)
                listener.listen(1)  # on some systems only this tells that the port is taken
    except (OSError, UnicodeError) as error:
        reason = str(error)
        if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno:
            reason = os.strerror(error.errno).lower()
        raise OSError(
            f"can't listen on {host} port {port}: {reason}; choose another with --host and --port"
        ) from error
