"""Where Milvus is, and how long to wait for it."""

from pydantic import BaseModel, Field, SecretStr, field_validator

RESULTS_MAX = 16_384
"""Most results of one query that a server gives."""


class MilvusConfig(BaseModel, frozen=True, extra="forbid"):
    """The Milvus server that holds the vectors, with `backend = "milvus"`."""

    uri: str = Field(
        "",
        description="http(s) address of the server, or a file that ends in .db for the embedded "
        "milvus-lite; empty: none",
    )
    token: SecretStr | None = Field(
        None,
        exclude=True,  # a build remembers how it was made, but no secret
        description="USER:PASSWORD or key, better given as LOOKALIKE_INDEX__MILVUS__TOKEN",
    )
    alias: str = Field(
        "lookalike",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$",
        description="alias of the live build's collection, and how the names of all collections "
        "begin; two workspaces on one server need two",
    )
    timeout_seconds: float = Field(
        10.0, gt=0, le=600, description="how long one call may take, and a swing of the alias"
    )
    load_timeout_seconds: float = Field(
        3_600.0, gt=0, description="how long flushing, indexing and loading a collection may take"
    )
    exact_candidates: int = Field(
        2_000,
        ge=0,
        le=RESULTS_MAX,
        description="a filter that so many distinct vectors pass is searched exactly",
    )

    @field_validator("uri")
    @classmethod
    def _holds_no_secret(cls, uri: str) -> str:
        """Refuse credentials here: the address is remembered in builds."""
        if "@" in uri:
            raise ValueError("user and password belong into `token`, not into the address")
        return uri

    @property
    def is_embedded(self) -> bool:
        """True for milvus-lite, which runs in a process of this machine."""
        return self.uri.endswith(".db")
