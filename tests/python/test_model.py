"""Models as objects: their end, threads, processes, interrupts, memory."""

import gc
import multiprocessing
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import limn
import numpy as np
import pytest
from conftest import ROOT

PROMPT = "a cat to the left of a dog"


def test_version_and_devices(program):
    import importlib.metadata

    assert limn.__version__ == importlib.metadata.version("limn") == program("--version").split()[1]
    found = limn.devices()
    assert found and all(isinstance(d, limn.DeviceInfo) and d.name and d.memory > 0 for d in found)
    assert limn.__file__ and pathlib.Path(limn.__file__).with_name("py.typed").exists()


def test_a_closed_model(tiny):
    m = limn.Model(tiny)
    with m as same:
        assert same is m and not m.closed and m.info.has_transformer and "closed" not in repr(m)
        codes = m.generate_codes("a", seed=1)
    assert m.closed and m.device.closed and "closed" in repr(m)
    m.close()
    for use in (
        lambda: m.generate("a"),
        lambda: m.generate_codes("a"),
        lambda: m.decode(codes),
        lambda: m.encode(np.zeros((8, 8, 3), np.uint8)),
        lambda: m.score("a", codes),
        lambda: m.rank("a", []) if m.info.has_clip else m.tokenize("a"),
        lambda: m.tokenize("a"),
        lambda: m.token(1),
        m.rest,
    ):
        with pytest.raises(limn.UsageError, match="closed"):
            use()
        with pytest.raises(ValueError):
            use()


def test_a_model_that_is_closed_while_it_draws(model, tiny):
    m = limn.Model(tiny)
    with pytest.raises(limn.Error):
        m.generate("a", n=40, seed=1, progress=lambda done, total: m.close())
    m.close()


def test_what_can_not_be_opened(tmp_path, tiny):
    for path in (tmp_path / "none.gguf", str(tmp_path / "none.gguf"), bytes(tmp_path / "none.gguf")):
        with pytest.raises(limn.Error, match="none.gguf"):
            limn.Model(path)
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(limn.Error, match="bad.gguf"):
        limn.Model(tmp_path / "bad.gguf")
    for wrong in (3, 1.5, object()):
        with pytest.raises(TypeError):
            limn.Model(wrong)
    with pytest.raises(ValueError):
        limn.Model("a\0b")
    with pytest.raises(TypeError):
        limn.Model(tiny, device=1.5)
    with pytest.raises(limn.Error, match="there is no such device|no device|no usable"):
        limn.Model(tiny, device="there is no such device")
    with pytest.raises(limn.UsageError):
        limn.Model(tiny, size=(17, 3))


def test_what_can_not_be_opened_leaves_no_thread(tiny, tmp_path):
    threads = threading.active_count()
    for _ in range(3):
        with pytest.raises(limn.Error):
            limn.Device("there is no such device")
        with pytest.raises(limn.Error):
            limn.Model(tmp_path / "none.gguf")
    for _ in range(100):
        if threading.active_count() <= threads:
            break
        time.sleep(0.05)
    assert threading.active_count() <= threads


def test_models_of_one_device_go_while_another_draws(tiny):
    with limn.Device() as d, limn.Model(tiny, d) as m, ThreadPoolExecutor(1) as pool:
        others = [limn.Model(tiny, d) for _ in range(8)]
        want = [other.generate("a", seed=1) for other in others][0]
        drawn = pool.submit(m.generate, "a", n=40, seed=1)
        while others:
            others.pop()  # nobody has closed it
            time.sleep(0.01)
        assert np.array_equal(np.asarray(drawn.result()[0]), np.asarray(want))


def test_paths(tiny, tmp_path):
    folder = tmp_path / "a folder, ünï"
    folder.mkdir()
    path = folder / "a model.gguf"
    path.write_bytes(tiny.read_bytes())
    for p in (path, str(path), os.fsencode(path)):
        with limn.Model(p) as m:
            m.generate("a", seed=1)


def test_models_share_a_device(tiny):
    with limn.Device(memory_limit=2**30) as d:
        a, b = limn.Model(tiny, d), limn.Model(device=d)
        assert a.device is d is b.device
        x, y = a.generate("a", seed=1), b.generate(PROMPT, seed=1)
        a.rest()
        assert a.generate("a", seed=1) == x
        a.close()
        assert not d.closed and b.generate(PROMPT, seed=1) == y
    b.close()
    with pytest.raises(limn.UsageError, match="closed"):
        limn.Model(tiny, d)
    with limn.Model(tiny, d.info.index) as m:
        assert m.device.info.name == d.info.name


def test_threads_take_turns(model):
    want = [model.generate(PROMPT, seed=i, temperature=1) for i in range(4)]
    codes = model.encode(want)
    with ThreadPoolExecutor(8) as pool:
        pictures = [pool.submit(model.generate, PROMPT, seed=i % 4, temperature=1) for i in range(8)]
        encoded = [pool.submit(model.encode, p) for p in want]
        ids = [pool.submit(model.tokenize, PROMPT) for _ in range(8)]
        assert [p.result() for p in pictures] == want * 2
        assert np.array_equal(np.concatenate([e.result() for e in encoded]), codes)
        assert all(np.array_equal(i.result(), model.tokenize(PROMPT)) for i in ids)


def test_models_draw_side_by_side(model):
    with limn.Model() as other:
        with ThreadPoolExecutor(2) as pool:
            a = pool.submit(model.generate, PROMPT, n=4, seed=1)
            b = pool.submit(other.generate, PROMPT, n=4, seed=1)
            assert a.result() == b.result()


def test_other_threads_run_meanwhile(model):
    counts, ended = [], threading.Event()

    def count():
        n = 0
        while not ended.wait(0.001):
            n += 1
        counts.append(n)

    thread = threading.Thread(target=count)
    thread.start()
    begin = time.monotonic()
    model.generate(PROMPT, n=16, seed=1, temperature=1)
    seconds = time.monotonic() - begin
    ended.set()
    thread.join()
    assert counts[0] > 50 * seconds


def test_it_is_not_copied_or_pickled(model):
    import copy

    for use in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot pickle 'limn.Model'"):
            use(model)
        with pytest.raises(TypeError, match="cannot pickle 'limn.Device'"):
            use(model.device)
    p = model.generate(PROMPT, seed=1)
    assert pickle.loads(pickle.dumps(p)) == p and pickle.loads(pickle.dumps(p)).info == p.info
    e = limn.UsageError("x: y")
    assert isinstance(pickle.loads(pickle.dumps(e)), limn.UsageError)
    assert pickle.loads(pickle.dumps(model.info)) == model.info


def forked(model, queue):
    said = []
    for use in (lambda: model.generate("a"), limn.devices, limn.Model):
        try:
            use()
            said.append("nothing")
        except limn.Error as e:
            said.append(str(e))
    model.close()
    queue.put(said)


def test_a_forked_process_is_told(model):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=forked, args=(model, queue))
    process.start()
    said = queue.get(timeout=60)
    process.join(60)
    assert process.exitcode == 0 and len(said) == 3 and all("fork" in s and "spawn" in s for s in said)
    model.generate(PROMPT, seed=1)


def drawn(seed):
    with limn.Model() as m:
        return m.generate_codes(PROMPT, seed=seed, temperature=1)


def test_a_spawned_process_draws(model):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert np.array_equal(pool.apply(drawn, (5,)), model.generate_codes(PROMPT, seed=5, temperature=1))


# where a shell has started the tests in the background, SIGINT is ignored
START = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\nimport limn\n"
INTERRUPTED = """
import time
m = limn.Model()
m.generate("x", seed=1)
print("ready", flush=True)
try:
    {work}
except KeyboardInterrupt:
    print("interrupted", time.monotonic(), flush=True)
print("again", m.generate("x", seed=1) == m.generate("x", seed=1), flush=True)
"""


@pytest.mark.parametrize(
    "work",
    [
        "m.generate('x', n=100000, seed=1, temperature=1)",
        "m.decode(m.generate_codes('x', seed=1).repeat(20000, 0))",
        "m.generate('x', n=100000, seed=1, temperature=1, progress=lambda done, total: time.sleep(0.01))",
    ],
)
def test_an_interrupt_is_raised_soon(work):
    process = subprocess.Popen(
        [sys.executable, "-c", START + INTERRUPTED.format(work=work)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    word, when = process.stdout.readline().split()
    assert word == "interrupted" and float(when) - sent < 2
    assert process.stdout.readline() == "again True\n"
    assert process.wait(60) == 0


def test_an_interrupt_that_nobody_catches_ends_the_program():
    text = START + "m = limn.Model()\nm.generate('x', seed=1)\nprint('ready', flush=True)\n"
    text += "m.generate('x', n=100000, seed=1, temperature=1)"
    process = subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in complaint and process.returncode in (-signal.SIGINT, 130, 1)


def test_an_interrupt_while_kernels_are_compiled_ends_the_program(tmp_path):
    text = START + "m = limn.Model()\nprint('ready', flush=True)\nm.generate('x', seed=1)"
    caches = {"LIMN_CACHE_DIR": str(tmp_path), "POCL_CACHE_DIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", text],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **caches},
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    _, complaint = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in complaint and process.returncode == -signal.SIGINT
    assert time.monotonic() - begin < 5


def test_a_program_may_end_anyhow(script):
    for text in (
        "import limn; m = limn.Model(); m.generate('x', seed=1)",
        "import limn; m = limn.Model(); d = limn.Device(); m.me = m; d.me = d",
        "import limn, threading; m = limn.Model()\n"
        "threading.Thread(target=m.generate, args=('x',), kwargs={'n': 8}).start()",
        "import limn, threading, time; m = limn.Model()\n"
        "threading.Thread(target=m.generate, args=('x',), kwargs={'n': 1000}, daemon=True).start(); time.sleep(0.3)",
        "import limn, logging; logging.basicConfig(level=1); m = limn.Model(); m.tokenize(' ')\nraise SystemExit(0)",
    ):
        code, printed, complaint = script(text)
        assert code == 0 and not printed, complaint
        assert "Traceback" not in complaint and "Exception ignored" not in complaint


def test_nothing_is_printed(script):
    code, printed, complaint = script("import limn\nwith limn.Model() as m: m.generate('a ' * 400, seed=1)")
    assert (code, printed) == (0, "")
    assert "limn" not in complaint


def test_messages_are_logged(model, caplog):
    with caplog.at_level("DEBUG", "limn"):
        model.generate("a cat " * 200, seed=1)
    assert any(r.levelname == "WARNING" and "cut" in r.getMessage() for r in caplog.records)


def test_a_log_handler_may_use_the_model(script):
    code, printed, complaint = script(
        "import limn, logging\n"
        "with limn.Model() as m:\n"
        "    class Handler(logging.Handler):\n"
        "        def emit(self, record): ids.append(len(m.tokenize('a')))\n"
        "    ids = []\n"
        "    logging.getLogger('limn').addHandler(Handler())\n"
        "    m.generate('a cat ' * 200, seed=1)\n"
        "    assert ids"
    )
    assert code == 0, complaint


def test_models_go_with_their_last_reference(tiny):
    threads = threading.active_count()
    m = limn.Model(tiny)
    m.generate("a", seed=1)
    gone = weakref.ref(m)
    del m
    gc.collect()
    assert gone() is None
    for _ in range(100):
        if threading.active_count() <= threads:
            break
        time.sleep(0.05)
    assert threading.active_count() <= threads


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_does_not_grow(model, tiny, request):
    n = request.config.getoption("--generations")
    with limn.Model(tiny) as m:
        picture = m.generate("a", seed=0)
        for i in range(n // 4):
            m.generate("a b", n=2, seed=i, image_prompt=picture)
        gc.collect()
        before = resident()
        for i in range(n):
            m.generate("a b", n=2, seed=i, image_prompt=picture)
        gc.collect()
        assert resident() - before < 4 * 2**20
    before = None
    for i in range(8):
        with limn.Model(tiny) as m:
            m.generate("a", seed=i)
        gc.collect()
        before = before or (resident() if i == 3 else None)
    assert resident() - before < 16 * 2**20
