"""The ledger as a state machine: whatever is done to it in any order, each payload has one place and one outcome."""

from dataclasses import dataclass, field
from types import SimpleNamespace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from beam_zerobus.delivery.entry import Entry
from beam_zerobus.delivery.ledger import Ledger
from beam_zerobus.encoding import Payload

MAX_BYTES = 100
BYTES_PER_ROW = 2


@dataclass(eq=False)
class Batch:
    """An owner that keeps what it receives."""

    done: bool = False
    outcomes: list = field(default_factory=list)

    def settle(self, acknowledged, rejected, attempts):
        self.outcomes.append(([row for rows in acknowledged for row in rows], [error.index for error in rejected]))


def payload(rows: int) -> Payload:
    return Payload(records=[b"x" * 10] * rows, rows=range(rows), size_bytes=10 * rows)


class LedgerMachine(RuleBasedStateMachine):
    """Submits, sends, acknowledges, loses streams, searches, converts and cancels, against plain lists."""

    def __init__(self):
        super().__init__()
        self.in_flight = SimpleNamespace(bytes=0, rows=0)
        self.ledger = Ledger(self.in_flight, max_bytes=MAX_BYTES, bytes_per_row=BYTES_PER_ROW)
        self.conversion = object()
        self.sent: list[Entry] = []
        self.queued: list[Entry] = []
        self.settled: list[Entry] = []
        self.all: list[Entry] = []
        self.cancelled: list[Entry] = []  # after they were sent
        self.bad: dict[Entry, int] = {}
        self.offset = 0
        self.paused = False
        self.closed = False

    @initialize()
    def start(self):
        assert not self.ledger.wait_for_work(0)

    @property
    def on_the_wire(self):
        return sorted([*self.sent, *self.cancelled], key=lambda entry: entry.offset)

    @property
    def next(self):
        return next((entry for entry in self.queued if not (self.paused and entry.search)), None)

    @property
    def room(self):
        return self.in_flight.bytes + self.in_flight.rows * BYTES_PER_ROW < MAX_BYTES

    @precondition(lambda self: self.room and not self.closed)
    @rule(rows=st.integers(1, 5), bad=st.integers(0, 9))
    def add(self, rows, bad):
        entry = Entry(payload(rows), Batch(), self.conversion)
        self.bad[entry] = bad if bad < rows else -1
        assert self.ledger.wait_for_room(entry.owner, lambda: 0.0)
        assert self.ledger.add(entry)
        self.queued.append(entry)
        self.all.append(entry)

    @rule(rows=st.integers(1, 3))
    def add_to_a_batch_that_is_done(self, rows):
        owner = Batch(done=True)
        assert not self.ledger.wait_for_room(owner, lambda: 0.0)
        assert not self.ledger.add(Entry(payload(rows), owner, self.conversion))

    @rule()
    def send(self):
        entry, expected = self.ledger.next_to_send(self.conversion), self.next
        if (
            self.closed
            or expected is None
            or (self.on_the_wire and (expected.goes_alone or self.on_the_wire[0].goes_alone))
            or expected.conversion is not self.conversion
        ):
            assert entry is None
            return
        assert entry is expected
        self.queued.remove(entry)
        assert self.ledger.mark_sent(entry, self.offset)
        self.sent.append(entry)
        self.offset += 1

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def acknowledge(self, data):
        last = data.draw(st.integers(0, len(self.sent) - 1))
        expected, again = self.sent[: last + 1], []
        offset = expected[-1].offset
        if expected[0].search is not None:  # it is alone; the service stores a piece without the bad row
            (entry,) = expected
            if self.bad[entry] in entry.search.piece:
                self.reject_piece(entry)
                return
            done = self.ledger.acknowledge(entry.offset)
            again = [] if done else [entry]
            expected = done
        else:
            done = self.ledger.acknowledge(expected[-1].offset)
        assert done == expected
        self.cancelled = [entry for entry in self.cancelled if entry.offset > offset]
        self.sent = self.sent[last + 1 :]
        self.queued = again + self.queued
        self.settle(done)

    @precondition(lambda self: len(self.sent) == 1 and not self.cancelled)
    @rule()
    def reject_alone(self):
        (entry,) = self.sent
        if entry.search is None and self.bad[entry] >= 0:
            self.reject_piece(entry)

    def reject_piece(self, entry):
        assert self.ledger.put_back() == ([entry], 0)
        self.sent = []
        self.put_back([entry])
        if self.ledger.reject(entry, "bad", probes=100):
            self.queued.remove(entry)
            self.settle([entry])

    @rule()
    def lose_the_stream(self):
        assert self.ledger.put_back() == (self.sent, len(self.cancelled))
        self.put_back(self.sent)
        self.sent, self.cancelled = [], []
        self.offset = 0

    def put_back(self, entries):
        """They come before all others, except that older searches come first."""
        searched = [] if any(entry.search for entry in entries) else self.queued
        first = next((n for n, entry in enumerate(searched) if not entry.search), len(searched))
        self.queued[first:first] = entries

    @rule(paused=st.booleans())
    def pause_searches(self, paused):
        self.paused = paused
        assert self.ledger.pause_searches(3600.0 if paused else 0.0) == (self.next is not None)
        assert self.ledger.wait_for_work(0) == bool(self.closed or self.on_the_wire or self.next)

    @precondition(lambda self: len(self.sent) > 1)
    @rule()
    def send_one_by_one(self):
        suspects, _ = self.ledger.put_back()
        self.ledger.send_singly(suspects)
        self.put_back(suspects)
        self.sent, self.cancelled = [], []

    @rule()
    def confirm_the_schema(self):
        self.ledger.confirm_schema()
        assert all(entry.schema_confirmed for entry in self.queued)

    @precondition(lambda self: not self.on_the_wire and not self.closed and len(self.queued) < 10)
    @rule(parts=st.integers(1, 3))
    def convert_again(self, parts):
        self.conversion = object()
        assert self.ledger.outdated(self.conversion) == self.queued
        for entry in list(self.queued):
            if entry.search is not None:
                entry.conversion = self.conversion
                continue
            new = [Entry(payload(1), entry.owner, self.conversion) for _ in range(parts)]
            self.bad.update(dict.fromkeys(new, -1))
            assert self.ledger.replace(entry, new)
            assert not self.ledger.replace(entry, new)
            at = self.queued.index(entry)
            self.queued[at : at + 1] = new
            self.all.remove(entry)
            self.all += new

    @precondition(lambda self: self.all)
    @rule(data=st.data())
    def cancel(self, data):
        owner = data.draw(st.sampled_from([entry.owner for entry in self.all]))
        self.ledger.cancel(owner)
        self.cancelled += [entry for entry in self.sent if entry.owner is owner]
        self.sent = [entry for entry in self.sent if entry.owner is not owner]
        self.queued = [entry for entry in self.queued if entry.owner is not owner]

    @rule()
    def give_up(self):
        assert self.ledger.clear() == self.sent + self.queued
        self.sent, self.queued, self.cancelled = [], [], []

    @precondition(lambda self: len(self.all) > 3)
    @rule()
    def close(self):
        assert self.ledger.close() == self.sent + self.queued
        self.sent, self.queued, self.cancelled, self.closed = [], [], [], True
        assert not self.ledger.add(Entry(payload(1), Batch(), self.conversion))
        assert not self.ledger.wait_for_room(Batch(), lambda: 0.0)

    def settle(self, entries):
        for entry in entries:
            entry.settle()
            self.settled.append(entry)
            acknowledged, rejected = entry.owner.outcomes[-1]
            bad = [self.bad[entry]] if entry.search is not None else []
            assert rejected == bad
            assert sorted(acknowledged) == [row for row in range(len(entry.payload.rows)) if row not in bad]

    @invariant()
    def each_entry_has_one_place(self):
        assert self.ledger.first_sent() is (self.on_the_wire[0] if self.on_the_wire else None)
        assert self.ledger.owners() == list(dict.fromkeys(entry.owner for entry in self.sent + self.queued))
        assert len({id(entry) for entry in self.sent + self.queued + self.settled}) == len(
            self.sent + self.queued + self.settled
        )

    @invariant()
    def offsets_rise_and_who_goes_alone_is_alone(self):
        offsets = [entry.offset for entry in self.on_the_wire]
        assert offsets == sorted(set(offsets))
        assert not any(entry.goes_alone for entry in self.on_the_wire) or len(self.on_the_wire) == 1

    @invariant()
    def what_is_in_flight_is_counted(self):
        held = self.sent + self.queued + self.cancelled
        assert self.ledger.bytes == sum(entry.payload.size_bytes for entry in held)
        assert self.ledger.rows == sum(len(entry.payload.rows) for entry in held)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_an_entry_converted_before_it_was_cancelled_is_not_put_back():
    ledger = Ledger(SimpleNamespace(bytes=0, rows=0), max_bytes=MAX_BYTES, bytes_per_row=0)
    old, new = object(), object()
    entry = Entry(payload(2), Batch(), old)
    assert ledger.add(entry)
    ledger.cancel(entry.owner)
    assert not ledger.replace(entry, [Entry(payload(2), entry.owner, new)])
    assert (ledger.bytes, ledger.rows, ledger.owners()) == (0, 0, [])
