"""Data sets of pictures as shards (WebDataset), made by several processes: what the tools that make some share."""
import concurrent.futures.process
import multiprocessing
import os
import signal
import sys
import tarfile
import threading
import time

import emoji_scenes as es

CHUNK = 200  # items that a process makes at a time


def member(name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def begin_process():
    """A process of the pool leaves interrupts to its parent, and ends with it, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=lambda: (multiprocessing.parent_process().join(), os._exit(1)), daemon=True).start()


def write(out, chunk, first, count, shard, jobs):
    """OUT-000000.tar, ... of chunk(numbers), tar members of these items; each file is whole or not there.

    Returns how many there are, and their size.
    """
    begun, size = time.monotonic(), 0
    cuts = [range(s, min(s + shard, first + count)) for s in range(first, first + count, shard)]
    chunks = [[r[i:i + CHUNK] for i in range(0, len(r), CHUNK)] for r in cuts]
    with concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("fork"), begin_process) as pool:
        try:
            made = pool.map(chunk, [c for part in chunks for c in part])
            for number, part in enumerate(chunks):
                def write_one(f, part=part):
                    for c in part:
                        f.write(next(made))
                        progress(c[-1] + 1 - first, count, begun)
                    f.write(bytes(-(f.tell() + 1024) % tarfile.RECORDSIZE + 1024))
                size += es.write_atomically(f"{out}-{number:06}.tar", write_one)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    progress(None, None, None)
    return len(cuts), size


def progress(done, of, begun):
    if not sys.stderr.isatty():
        return
    if done is None:
        print("\r\033[K", end="", file=sys.stderr)
        return
    rate = done / max(1e-9, time.monotonic() - begun)
    print(f"\r\033[K{100 * done // of}%  {rate:.0f} items/s  {(of - done) / rate:.0f} s left", end="", file=sys.stderr,
          flush=True)
