"""The service that is live now, replaced without a failed request when `live.json` moves."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pyarrow as pa

from embedder.errors import EmbedderError
from index.background import Background
from index.config import IndexConfig
from index.delta import ChangedUsers
from index.errors import IndexingError, NoLiveBuild
from index.overlay import CHANGES_SCHEMA
from index.population import Population
from index.publish import live_build_id
from index.service import Clock, LookalikeService, utc_now
from store.errors import StoreError
from store.workspace import Workspace

logger = logging.getLogger(__name__)

RETRY_FIRST, RETRY_MAX = timedelta(seconds=0.5), timedelta(seconds=10)

OpenService = Callable[[Workspace, str, IndexConfig], LookalikeService]
ReadErased = Callable[[], frozenset[str]]
ReadLabels = Callable[[datetime], pa.Table]

NO_LABELS = CHANGES_SCHEMA.empty_table()


@dataclass(frozen=True)
class LiveStatus:
    """How the last attempts to load went.

    Attributes:
        build_id: What is served; None until the first load.
        loaded_at: When that was loaded.
        checked_at: When `live.json` was last looked at.
        error: Why the live build is not the one that is served, or why what was erased or labelled
            lately may not be seen; None when all is well.
        num_left_out: New or changed users since the build for whom there is no room until the next.
    """

    build_id: str | None = None
    loaded_at: datetime | None = None
    checked_at: datetime | None = None
    error: str | None = None
    num_left_out: int = 0


def open_service(workspace: Workspace, build_id: str, config: IndexConfig) -> LookalikeService:
    """Load a build with its encoder and risk model."""
    return LookalikeService.open(workspace, build_id=build_id, config=config)


def nobody() -> frozenset[str]:
    """Return that nobody was erased."""
    return frozenset()


def no_labels(_since: datetime) -> pa.Table:
    """Return that no label changed."""
    return NO_LABELS


class LiveService:
    """Holds the current service; readers keep the one they got until they are done with it.

    What takes long is prepared from what is served, while erasures and labels go on counting, and
    takes over what changed meanwhile when it is served itself. Locks are taken in the order
    `_refreshing`, `_adding`, `_labelling`, `_swapping`; the last is held for short steps alone, and
    `current` takes none.

    Args:
        workspace: Where `live.json` is.
        config: Passed on to each service.
        read_erased: Returns all erased users, the same object while nobody was added; raises
            StoreError where they can't be read.
        read_labels: Returns the labels of now of all users whose labels may have changed since a
            time, with the columns of `CHANGES_SCHEMA`, the same object while nothing did; raises
            StoreError where they can't be read.
        open_service: Loads one, with a build that no other service holds.
        clock: Tells the time.
    """

    def __init__(
        self,
        workspace: Workspace,
        config: IndexConfig,
        *,
        read_erased: ReadErased = nobody,
        read_labels: ReadLabels = no_labels,
        open_service: OpenService = open_service,
        clock: Clock = utc_now,
    ) -> None:
        self._workspace = workspace
        self._config = config
        self._read_erased = read_erased
        self._read_labels = read_labels
        self._open_service = open_service
        self._clock = clock
        self._service: LookalikeService | None = None
        self._status = LiveStatus()
        self._pointer: bytes | None = None
        self._retry_at: datetime | None = clock()
        self._retry_wait = RETRY_FIRST
        self._refreshing = threading.Lock()
        self._adding = threading.Lock()  # users to the delta, or the delta to another build
        self._labelling = threading.Lock()
        self._swapping = threading.Lock()
        self._erased: frozenset[str] = frozenset()
        self._erased_seen: frozenset[str] | None = None
        self._labels_seen: pa.Table | None = None
        self._erasures_error: str | None = None
        self._labels_error: str | None = None
        self._left_out: set[str] = set()
        self._graphs = Background("delta-graph", waiting_max=1)
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    def current(self) -> LookalikeService:
        """Return the service to answer with; take it once per request.

        Raises:
            NoLiveBuild: While nothing is loaded.
        """
        service = self._service
        if service is None:
            reason = self._status.error or "no build is loaded yet"
            raise NoLiveBuild(reason)
        return service

    def status(self) -> LiveStatus:
        """Return how the last attempts to load went."""
        errors = (self._status.error, self._erasures_error, self._labels_error)
        return replace(
            self._status,
            error="; ".join(filter(None, errors)) or None,
            num_left_out=len(self._left_out),
        )

    def refresh(self) -> bool:
        """Load the live build if it is another than the one served; return whether it changed.

        Blocks while loading, so call it from a thread of its own; callers at the same time wait.
        Nothing is served before it is known who was erased, and which labels changed since.
        A build that can't be loaded leaves the old one in service, and `status` says why. It is
        tried again, for the reason may have been outside the build or it may be repaired: soon at
        first, then ever later, as each attempt reads all of it.
        """
        with self._refreshing:
            now, pointer = self._clock(), self._read_pointer()
            self._status = replace(self._status, checked_at=now)
            if pointer == self._pointer and (self._retry_at is None or now < self._retry_at):
                return False
            if pointer != self._pointer:
                self._retry_wait = RETRY_FIRST
            self._pointer, self._retry_at = pointer, now + RETRY_MAX
            try:
                changed = self._load()
            except (IndexingError, EmbedderError, StoreError, OSError, MemoryError) as error:
                self._fail(error)
                self._retry_at = self._clock() + self._retry_wait
                self._retry_wait = min(2 * self._retry_wait, RETRY_MAX)
                return False
            self._retry_at, self._retry_wait = None, RETRY_FIRST
            return changed

    def follow_erasures(self) -> bool:
        """Hide users who were erased since the last time; return whether there were any.

        It is quick, and it waits neither for a `refresh` nor for an `apply`. Where the erasures
        can't be read, those known so far hold, and `status` says so.
        """
        try:
            erased = self._read_erased()
        except StoreError as error:
            self._erasures_error = f"the erasures can't be read: {error}"
            return False
        self._erasures_error = None
        if erased is self._erased_seen:
            return False
        with self._swapping:
            self._erased |= erased
            self._left_out -= erased
            before = self._service
            if before is not None:
                population = before.population.without_users(self._erased)
                self._service = before.answering_for(population)
            changed = self._service is not before
        self._erased_seen = erased
        if changed:
            self._grow_beside()
        return changed

    def follow_labels(self) -> bool:
        """Serve the labels of now; return whether any changed since the last time.

        Where they can't be read, those known so far hold, and `status` says so.
        """
        with self._labelling:
            service = self._service
            if service is None:
                return False
            try:
                labels = self._read_labels(service.data_as_of)
            except StoreError as error:
                self._labels_error = f"the labels can't be read: {error}"
                return False
            self._labels_error = None
            if labels is self._labels_seen:
                return False
            with self._swapping:
                now = self.current()
                self._service = now.answering_for(now.population.with_labels(labels))
            self._labels_seen = labels
            return True

    def admit(self, user_ids: Sequence[str]) -> list[str]:
        """Return those users for whom `apply` has room now; `status` counts the others.

        Raises:
            NoLiveBuild: While nothing is loaded.
        """
        with self._swapping:
            return self._admit(self.current().population, user_ids)

    def apply(self, changed: ChangedUsers) -> int:
        """Serve users as they are now; return how many found no room, whom `status` counts too.

        They are searched at once. Where they have become many, a graph is grown of them in a thread
        beside, and `settle` waits for it.

        Raises:
            NoLiveBuild: While nothing is loaded.
            SpaceMismatch: If another encoder is served than that which embedded them.
        """
        user_ids = changed.users["user_id"].to_pylist()
        with self._adding:
            before = self.current().population
            population = before.with_changed(changed, users_max=self._config.delta_users_max)
            with self._swapping:
                now = self.current()
                self._admit(before, user_ids)
                self._left_out -= changed.gone
                self._service = now.answering_for(population.catching_up(now.population))
                num_left_out = len(self._left_out.intersection(user_ids))
        self._grow_beside()
        return num_left_out

    def settle(self, timeout_seconds: float) -> bool:
        """Wait for the graph that is being grown; return whether that ended in time."""
        return self._graphs.wait(timeout_seconds)

    def start(self, *, poll_seconds: float = 1.0) -> None:
        """Refresh and follow the erasures again and again in a thread, until `stop`."""
        assert self._watcher is None, "it is started already"
        self._stopping.clear()
        self._watcher = threading.Thread(
            target=self._watch, args=(poll_seconds,), name="live-build", daemon=True
        )
        self._watcher.start()

    def stop(self) -> None:
        """End the thread; a load that is under way is waited for."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
            self._watcher = None

    def _watch(self, poll_seconds: float) -> None:
        while not self._stopping.is_set():
            try:
                self.follow_erasures()
                self.follow_labels()
                self.refresh()
            except Exception as error:  # the edge of a thread that must live on
                logger.exception("refreshing the live build failed")
                self._fail(error)
            self._stopping.wait(poll_seconds)

    def _load(self) -> bool:
        build_id = live_build_id(self._workspace)
        changed = self._service is None or self._service.build_id != build_id
        if changed:
            erased = self._read_erased()
            loaded = self._open_service(self._workspace, build_id, self._config)
            self._swap(loaded, erased)
            logger.info("build %s is loaded", build_id)
        loaded_at = self._clock() if changed else self._status.loaded_at
        self._status = LiveStatus(build_id, loaded_at, self._clock(), None)
        return changed

    def _admit(self, population: Population, user_ids: Sequence[str]) -> list[str]:
        """Note who is left out and who no longer is. Needs the lock `_swapping`."""
        places = population.admitted(user_ids, users_max=self._config.delta_users_max)
        admitted = [user_ids[place] for place in places.tolist()]
        self._left_out |= set(user_ids) - self._erased
        self._left_out -= set(admitted)
        return admitted

    def _swap(self, loaded: LookalikeService, erased: frozenset[str]) -> None:
        """Serve what was loaded, without all who were ever seen erased, with the labels of now.

        Users whom its build can't know are carried over.
        """
        with self._adding:
            before = self._service
            population = loaded.population.without_users(erased)
            if before is not None:
                population = population.carrying(before.population)
            with self._labelling:  # nobody serves newer labels in the build before any more
                labels = self._read_labels(loaded.data_as_of)
                population = population.with_labels(labels)
                with self._swapping:
                    self._erased |= erased
                    self._left_out = set()
                    self._service = loaded.answering_for(population.without_users(self._erased))
                self._labels_seen = labels
        if before is not None:
            before.build.slices.close()
        self._grow_beside()

    def _grow_beside(self) -> None:
        """Have the graph grown; what changes while one is grown waits for its own turn."""
        self._graphs.offer(object(), self._grow)

    def _grow(self) -> None:
        """Make the graph of the changed users longer, where exact search has become too much."""
        delta = self.current().population.delta
        if not delta.wants_graph(self._config):
            return
        graph = delta.grown_graph(self._config)
        with self._swapping:
            now = self.current()
            grown = now.population.delta.adopting(graph, delta)
            self._service = now.answering_for(now.population.with_delta(grown))

    def _fail(self, error: Exception) -> None:
        message = str(error) or type(error).__name__
        if message != self._status.error:
            logger.warning("the live build can't be loaded: %s", message)
        self._status = replace(self._status, error=message)

    def _read_pointer(self) -> bytes | None:
        """Return the content of `live.json`; file times are too coarse to see quick changes."""
        try:
            return self._workspace.live_file.read_bytes()
        except OSError:
            return None
