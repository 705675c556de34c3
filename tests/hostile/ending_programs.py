"""Programs that end in every way there is, with rows in flight; each has a `new_writer`, of one table or of many."""

import signal

START = """
import asyncio, logging, multiprocessing, os, signal, sys, threading, time
import pyarrow as pa
from beam_zerobus import OAuthClientCredentials, ZerobusWriter, ZerobusWriters
from beam_zerobus.writer import endings, with_block

endpoint, workspace, client, secret, kind, limit = sys.argv[1:7]
endings.EXIT_SECONDS = with_block.ABORT_SECONDS = float(limit)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a shell such as nohup's has it ignored
start_thread = threading.Thread.start
def start_unless_it_ends(thread):  # as Python 3.12 and later do, once no thread is left that it waits for
    if all(other.daemon or not other.is_alive() for other in threading.enumerate()):
        raise RuntimeError("can't create new thread at interpreter shutdown")
    start_thread(thread)
threading.Thread.start = start_unless_it_ends
logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(message)s")
options = {"endpoint": endpoint, "workspace_url": workspace, "schema": "id BIGINT NOT NULL",
           "credentials": OAuthClientCredentials(client_id=client, client_secret=secret)}
class OneOfMany:
    # Writers of many tables, used for one as `ZerobusWriter` is.
    def __init__(self): self.writers = ZerobusWriters(max_open_tables=1, **options)
    def __enter__(self): return self
    def __exit__(self, *error): self.writers.__exit__(*error)
    def submit(self, batch, table="main.iot.air"): return self.writers.submit(table, batch)
    def asend_batch(self, batch): return self.writers.asend_batch("main.iot.air", batch)
    def close(self): self.writers.close()
    @property
    def in_flight_rows(self): return self.writers.in_flight_bytes
def new_writer():
    return OneOfMany() if kind == "many" else ZerobusWriter("main.iot.air", **options)
batch = pa.record_batch({"id": pa.array(range(7), pa.int64())})
def ready():
    print("ready", flush=True)
def sleep_for_long():  # in slices: a signal just before a sleep does not interrupt it
    for _ in range(600):
        time.sleep(0.1)
"""

FORKED = """
def work(end):
    global writer
    writer = new_writer()
    writer.submit(batch)
    end()
def child(end):
    process = multiprocessing.get_context("fork").Process(target=work, args=(end,))
    process.start()
    process.join()
"""
IN_THREAD = """
threading.excepthook = lambda _: None
def in_thread(end):
    def work():
        writer = new_writer()
        writer.submit(batch)
        end()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
"""
ENDINGS = {
    "return": "writer = new_writer(); writer.submit(batch)",
    "exception": "writer = new_writer(); writer.submit(batch); raise RuntimeError('of the program')",
    "sys.exit": "writer = new_writer(); writer.submit(batch); sys.exit(3)",
    "with": "with new_writer() as writer: writer.submit(batch)",
    "exception in with": "with new_writer() as writer:\n    writer.submit(batch)\n    raise RuntimeError('ours')",
    "dropped": "new_writer().submit(batch)",
    "function": "def send():\n    writer = new_writer()\n    writer.submit(batch)\nsend()",
    "daemon thread": (
        "writer = new_writer()\n"
        "thread = threading.Thread(target=lambda: writer.submit(batch), daemon=True)\n"
        "thread.start(); thread.join()"
    ),
    "asyncio": (
        "writer = new_writer()\n"
        "async def main():\n"
        "    task = asyncio.ensure_future(writer.asend_batch(batch))\n"
        "    while not writer.in_flight_rows and not task.done():\n        await asyncio.sleep(0.01)\n"
        "asyncio.run(main())"
    ),
    "closed loop": (
        "for name in ('asyncio', 'concurrent.futures'):\n    logging.getLogger(name).setLevel(logging.CRITICAL)\n"
        "writer, loop = new_writer(), asyncio.new_event_loop()\n"
        "task = loop.create_task(writer.asend_batch(batch))\n"
        "while not writer.in_flight_rows and not task.done():\n    loop.run_until_complete(asyncio.sleep(0.01))\n"
        "loop.close()"
    ),
    "exit in with": "with new_writer() as writer:\n    writer.submit(batch)\n    sys.exit(3)",
    "forked child": FORKED + "child(end=lambda: None)",
    "exception in a forked child": FORKED + "child(end=lambda: 1 / 0)",
    "thread": "writer = new_writer(); threading.Thread(target=lambda: writer.submit(batch)).start()",
    "exception in a thread": IN_THREAD + "in_thread(lambda: 1 / 0)",
    "sys.exit in a thread": IN_THREAD + "in_thread(lambda: sys.exit(3))",
    "dropped in a thread": "thread = threading.Thread(target=lambda: new_writer().submit(batch)); thread.start()",
    "garbage": "writer = new_writer(); writer.submit(batch); writer.itself = [writer]; del writer",
}
SIGNALS = {
    "SIGINT": ([signal.SIGINT], "writer = new_writer(); writer.submit(batch); ready(); sleep_for_long()"),
    "SIGINT in with": (
        [signal.SIGINT],
        "with new_writer() as writer:\n    writer.submit(batch); ready(); sleep_for_long()",
    ),
    "SIGINT while closing": ([signal.SIGINT], "writer = new_writer(); writer.submit(batch); ready(); writer.close()"),
    "SIGINT twice": (
        [signal.SIGINT, signal.SIGINT],
        "writer = new_writer(); writer.submit(batch); ready(); sleep_for_long()",
    ),
    "SIGTERM with the documented handler": (
        [signal.SIGTERM],
        (
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
            "writer = new_writer(); writer.submit(batch); ready(); sleep_for_long()"
        ),
    ),
}

OF_MANY_TABLES = {
    "return", "with", "exception in with", "dropped", "asyncio", "forked child", "exception in a thread", "SIGINT",
    "SIGINT in with",
}  # fmt: skip
