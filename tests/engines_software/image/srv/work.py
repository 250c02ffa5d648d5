"""What Python programs ask of a kernel: child processes, shared memory, threads, sockets, a virtual environment."""

import asyncio
import multiprocessing
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from multiprocessing import shared_memory


def square(n):
    return n * n


def main():
    with multiprocessing.Pool(2) as pool:
        assert pool.map(square, range(5)) == [0, 1, 4, 9, 16]
    queue = multiprocessing.get_context("spawn").Queue()
    child = multiprocessing.get_context("spawn").Process(target=queue.put, args=("spawned",))
    child.start()
    assert queue.get(timeout=20) == "spawned"
    child.join()
    block = shared_memory.SharedMemory(create=True, size=4096)
    block.buf[0] = 7
    block.close()
    block.unlink()

    assert subprocess.run(["ls", "/"], capture_output=True, check=True).stdout
    piped = subprocess.Popen("cat | tr a-z A-Z", shell=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert piped.communicate(b"piped")[0] == b"PIPED"

    threads = [threading.Thread(target=square, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def echo():
        async def reply(reader, writer):
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(reply, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"word\n")
        assert await reader.readline() == b"word\n"
        process = await asyncio.create_subprocess_exec("true")
        assert await process.wait() == 0

    asyncio.run(echo())
    socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    socket.socketpair()[0].close()

    with tempfile.TemporaryDirectory() as place:
        database = sqlite3.connect(os.path.join(place, "db"))
        database.execute("create table t (n integer)")
        database.execute("insert into t values (42)")
        database.commit()
        assert database.execute("select n from t").fetchone() == (42,)
        subprocess.run([sys.executable, "-m", "venv", place + "/venv"], check=True)
        inside = subprocess.run([place + "/venv/bin/python", "-m", "pip", "--version"], capture_output=True, check=True)
        assert place.encode() in inside.stdout, inside.stdout
    print("python did it all")


if __name__ == "__main__":
    main()
