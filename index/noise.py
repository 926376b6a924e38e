"""Vectors that differ by float noise alone: one behavior, embedded in different batches.

Rounding to one grid would part neighbors at its borders. So the vectors are projected on a few
random directions and put into the cells of one grid more than there are directions, each shifted
by its share of a cell. Two rows that are close lie on two sides of a border, in one direction, in
one of these grids at most: in one grid at least they share a cell (the pigeonhole argument of
shifted grids, as in Chan 1998, "Approximate Nearest Neighbor Queries Revisited"). Rows of a cell
are linked where their true distance says so, and groups are the connected components of links.

Noise can't make a chain that leads from one behavior to another; behaviors that differ ever so
little can. A component wider than `RADIUS` is such a chain, and is taken apart by a tenth of the
distance, and again, in the end to rows equal to the last bit.

Shape key: `M` vectors, no two of them equal, `D` dimensions, `C` directions, `P` pairs or rows of
cells that hold several.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from index.vectors import Rows, Vectors, row_blocks

NOISE = 1e-5
"""Rows at most so far apart are one behavior: about a hundred times what batches make of one."""

RADIUS = 5e-5
"""No row of a group is farther from its first one, so no two are twice as far apart."""

LEVELS = (NOISE, NOISE / 10, NOISE / 100)
NUM_DIRECTIONS, DIRECTIONS_SEED = 3, 20_240_301
LEADERS_MAX = 32
"""A cell of more places than that holds a continuum, not copies: it is left to the next level."""

Booleans = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Links:
    """Pairs of rows that are close, and rows of cells too crowded to tell all that are."""

    first_P: Rows
    second_P: Rows
    crowded_P: Rows


def components_of_noise(vectors_ND: Vectors, rows_M: Rows) -> Rows:
    """Return the group of each row, numbered from 0, int64 of length M.

    Let rows be copies of vectors that are equal or farther than 2 RADIUS apart, each moved by at
    most NOISE / 2: then the groups are the copies of each, whatever the noise was. In any case
    two rows of a group are at most 2 RADIUS apart.

    Args:
        vectors_ND: Holds the vectors; may be memory-mapped.
        rows_M: Rows to group, no two bit-equal. The groups of rows given in an order that depends
            on content alone do not depend on where in the matrix they stand.

    Cost is about M log M; memory is bounded by a few numbers per row.
    """
    group_M = np.arange(len(rows_M), dtype=np.int64)
    direction_DC = directions(vectors_ND.shape[1])
    open_M = np.arange(len(rows_M), dtype=np.int64)
    for link in LEVELS:
        rows = rows_M[open_M]
        links = _links(vectors_ND, rows, direction_DC, link)
        if len(links.first_P) + len(links.crowded_P) == 0:
            break
        component, first = _components(links, len(rows))
        loose = _too_wide(vectors_ND, rows, component, first)
        loose[component[links.crowded_P]] = True
        settled = ~loose[component]
        group_M[open_M[settled]] = open_M[first[component[settled]]]
        open_M = open_M[~settled]
    numbers: Rows = np.unique(group_M, return_inverse=True)[1].astype(np.int64)
    return numbers


def directions(dim: int) -> Doubles:
    """Return random directions of length one, D by C; they are always the same."""
    direction_DC = np.random.default_rng(DIRECTIONS_SEED).normal(size=(dim, NUM_DIRECTIONS))
    return np.asarray(direction_DC / np.linalg.norm(direction_DC, axis=0))


def distances(first_ND: Vectors, first_P: Rows, second_ND: Vectors, second_P: Rows) -> Doubles:
    """Return the distance of each pair of rows, one of each matrix, exact to float64."""
    distance_P = np.empty(len(first_P))
    for block in row_blocks(len(first_P), 8 * first_ND.shape[1]):
        difference = first_ND[first_P[block]].astype(np.float64) - second_ND[second_P[block]]
        distance_P[block] = np.sqrt(np.einsum("pd,pd->p", difference, difference))
    return distance_P


def _links(vectors_ND: Vectors, rows_M: Rows, direction_DC: Doubles, link: float) -> _Links:
    """Link all rows within `link` of each other, some up to twice as far, by all grids."""
    num_grids = direction_DC.shape[1] + 1
    cell_width = 1.001 * num_grids * link
    place_MC = np.empty((len(rows_M), direction_DC.shape[1]))
    for block in row_blocks(len(rows_M), 8 * vectors_ND.shape[1]):
        place_MC[block] = vectors_ND[rows_M[block]].astype(np.float64) @ direction_DC
    place_MC /= cell_width
    found = [
        _links_in_cells(vectors_ND, rows_M, _cells(place_MC, grid / num_grids), link)
        for grid in range(num_grids)
    ]
    return _Links(
        np.concatenate([links.first_P for links in found]),
        np.concatenate([links.second_P for links in found]),
        np.concatenate([links.crowded_P for links in found]),
    )


def _cells(place_MC: Doubles, shift: float) -> Rows:
    """Return a hash of each row's cell; cells that share one cost time, and link nobody."""
    odd_C = 1 + 2 * np.random.default_rng(DIRECTIONS_SEED).integers(
        2**62, size=(NUM_DIRECTIONS,), dtype=np.int64
    )
    place_MC = np.floor(place_MC + shift)
    with np.errstate(over="ignore"):  # the wrapped product is the hash
        cell_M: Rows = (place_MC.astype(np.int64) * odd_C).sum(axis=1)
    return cell_M


def _links_in_cells(vectors_ND: Vectors, rows_M: Rows, cell_M: Rows, link: float) -> _Links:
    """Link the rows of each cell to the cell's leaders, in rounds of one leader for every cell.

    Leaders are farther than `link` from each other, and every row is within it of one; being
    linked to all leaders within twice that, any two rows within `link` get a leader in common.
    """
    member_P = np.argsort(cell_M, kind="stable").astype(np.int64)
    cell_P = cell_M[member_P]
    starts = np.flatnonzero(np.append(True, cell_P[1:] != cell_P[:-1])[: len(cell_P)])
    size = np.diff(np.append(starts, len(cell_P)))
    member_P, size = member_P[np.repeat(size > 1, size)], size[size > 1]
    covered_P = np.zeros(len(member_P), dtype=np.bool_)
    firsts, seconds = [], []
    for _ in range(LEADERS_MAX):
        if len(member_P) == 0:
            break
        start = np.cumsum(size) - size
        leader_P = np.repeat(member_P[_first_open(covered_P, start)], size)
        distance_P = distances(vectors_ND, rows_M[member_P], vectors_ND, rows_M[leader_P])
        linked = (distance_P <= 2 * link) & (member_P != leader_P)
        firsts.append(leader_P[linked])
        seconds.append(member_P[linked])
        covered_P |= distance_P <= link
        remains = ~np.logical_and.reduceat(covered_P, start)
        stays_P = np.repeat(remains, size)
        member_P, covered_P, size = member_P[stays_P], covered_P[stays_P], size[remains]
    nothing = np.empty(0, dtype=np.int64)
    return _Links(np.concatenate([nothing, *firsts]), np.concatenate([nothing, *seconds]), member_P)


def _first_open(covered_P: Booleans, start: Rows) -> Rows:
    """Return the place of the first row of each cell that no leader covers yet; there is one."""
    place = np.where(covered_P, len(covered_P), np.arange(len(covered_P)))
    first: Rows = np.minimum.reduceat(place, start)
    return first


def _components(links: _Links, num_rows: int) -> tuple[Rows, Rows]:
    """Return the component of each row, and the first row of each component."""
    graph = sp.coo_matrix(
        (np.ones(len(links.first_P), dtype=np.int8), (links.first_P, links.second_P)),
        shape=(num_rows, num_rows),
    )
    component_M = connected_components(graph, directed=False)[1].astype(np.int64)
    first = np.unique(component_M, return_index=True)[1].astype(np.int64)
    return component_M, first


def _too_wide(vectors_ND: Vectors, rows_M: Rows, component_M: Rows, first: Rows) -> Booleans:
    """Tell which components reach farther than RADIUS from their first row."""
    others = np.flatnonzero(first[component_M] != np.arange(len(rows_M)))
    firsts = rows_M[first[component_M[others]]]
    distance = distances(vectors_ND, rows_M[others], vectors_ND, firsts)
    wide = np.zeros(len(first), dtype=np.bool_)
    wide[component_M[others[distance > RADIUS]]] = True
    return wide
