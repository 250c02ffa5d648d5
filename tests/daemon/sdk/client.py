"""docker-py against the daemon: each function is a case, and prints its name when it holds."""

import io
import os
import sys
import tarfile
import threading
import time

import docker
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound
from docker.utils.socket import frames_iter

IMAGE = "busybox"
REGISTRY = os.environ["TEST_REGISTRY"]
client = docker.from_env(version="auto")


def sh(script, **options):
    """A container in the background."""
    options = {"network_mode": "none", "detach": True, **options}
    return client.containers.run(IMAGE, ["sh", "-c", script], **options)


def refused(status, words, call):
    """What the call is refused with."""
    try:
        call()
    except APIError as error:
        assert error.response.status_code == status, error
        assert words in str(error.explanation), error
        return error
    raise AssertionError(f"nothing refused it: {words}")


def system():
    assert client.ping()
    assert client.version()["ApiVersion"] == client.api._version
    assert client.info()["OSType"] == "linux"
    assert "LayersSize" in client.df()
    assert {"none", "host"} <= {network.name for network in client.networks.list()}


def runs():
    output = client.containers.run(IMAGE, "echo hello", network_mode="none", remove=True)
    assert output == b"hello\n", output
    try:
        client.containers.run(IMAGE, ["sh", "-c", "echo no >&2; exit 3"], network_mode="none", remove=True)
        raise AssertionError("it failed, and nobody was told")
    except ContainerError as error:
        assert (error.exit_status, error.stderr) == (3, b"no\n"), error


def attaches():
    container = client.containers.create(
        IMAGE, ["sh", "-c", "read line; echo got $line; echo err >&2"], stdin_open=True, network_mode="none"
    )
    socket = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    container.start()
    socket.sendall(b"words\n")
    frames = list(frames_iter(socket, tty=False))
    assert sorted(frames) == [(1, b"got words\n"), (2, b"err\n")], frames
    assert container.wait()["StatusCode"] == 0
    container.remove()
    container = sh("read go; for i in 1 2 3; do echo $i; done", stdin_open=True)
    stream = container.attach(stream=True, logs=True)
    socket = container.attach_socket(params={"stdin": 1, "stream": 1})
    socket.sendall(b"go\n")
    assert b"".join(stream) == b"1\n2\n3\n"
    container.remove(force=True)


def executes():
    container = sh("exec sleep 1000")
    code, output = container.exec_run(["sh", "-c", "echo out; echo err >&2; exit 4"], demux=True)
    assert (code, output) == (4, (b"out\n", b"err\n")), (code, output)
    code, output = container.exec_run("id -u", user="12", workdir="/tmp", environment={"A": "b"})
    assert (code, output) == (0, b"12\n"), (code, output)
    _, socket = container.exec_run(["head", "-n", "1"], stdin=True, socket=True)
    socket.sendall(b"typed\nmore\n")
    assert [data for _, data in frames_iter(socket, tty=False)] == [b"typed\n"]
    code, stream = container.exec_run(["sh", "-c", "echo 1; echo 2"], stream=True)
    assert b"".join(stream) == b"1\n2\n"
    code, output = container.exec_run("no-such-program")
    assert code == 127 and b"executable file not found" in output, output
    container.kill()
    container.wait()
    refused(409, "is not running", lambda: container.exec_run("true"))
    container.remove()


def follows():
    container = sh("for i in 1 2 3; do echo line-$i; sleep 0.2; done; echo end >&2")
    begun = time.monotonic()
    first = None
    lines = []
    for line in container.logs(stream=True, follow=True):
        first = first or time.monotonic() - begun
        lines.append(line)
    assert b"".join(lines) == b"line-1\nline-2\nline-3\nend\n", lines
    assert time.monotonic() - begun > first, "all came at once"
    assert container.logs(stdout=True, stderr=False, tail=1) == b"line-3\n"
    stamped = container.logs(timestamps=True, tail=1)
    assert stamped.endswith(b"Z end\n"), stamped
    container.remove()


def listens():
    since = int(time.time())
    seen = []
    events = client.events(decode=True, filters={"type": "container", "label": "heard=yes"}, since=since)

    def listen():
        for event in events:
            seen.append((event["Action"], event["Actor"]["Attributes"].get("exitCode")))
            if event["Action"] == "destroy":
                return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    container = sh("exit 6", labels={"heard": "yes"})
    container.wait()
    container.remove()
    listener.join(20)
    assert seen == [("create", None), ("start", None), ("die", "6"), ("destroy", None)], seen
    events.close()


def copies():
    container = sh("exec sleep 1000")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("a/file")
        member.size, member.uid, member.mode = 5, 7, 0o640
        tar.addfile(member, io.BytesIO(b"bytes"))
    assert container.put_archive("/tmp", archive.getvalue())
    code, output = container.exec_run(["stat", "-c", "%u %a %s", "/tmp/a/file"])
    assert (code, output) == (0, b"7 640 5\n"), output
    stream, stat = container.get_archive("/tmp/a")
    assert stat["name"] == "a", stat
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
        assert tar.getnames() == ["a", "a/file"], tar.getnames()
        assert tar.extractfile("a/file").read() == b"bytes"
        assert tar.getmember("a/file").uid == 7
    try:
        container.get_archive("/nowhere")
        raise AssertionError("a place that is not there was read")
    except NotFound:
        pass
    container.remove(force=True)


def measures():
    container = sh("exec sleep 1000", mem_limit="64m")
    once = container.stats(stream=False)
    assert once["memory_stats"]["limit"] == 64 << 20 and once["pids_stats"]["current"] == 1, once
    stream = container.stats(stream=True, decode=True)
    first, second = next(stream), next(stream)
    assert second["precpu_stats"]["system_cpu_usage"] == first["cpu_stats"]["system_cpu_usage"]
    stream.close()
    top = container.top(ps_args="-eo pid,args")
    assert top["Titles"] == ["PID", "COMMAND"] and top["Processes"][0][1] == "sleep 1000", top
    container.remove(force=True)


def lives():
    container = sh("trap 'exit 8' TERM; echo up; while :; do sleep 0.05; done", name="one", auto_remove=False)
    container.pause()
    container.reload()
    assert container.status == "paused"
    container.unpause()
    container.rename("two")
    assert client.containers.get("two").id == container.id
    container.update(mem_limit="32m", memswap_limit="32m")
    container.reload()
    assert container.attrs["HostConfig"]["Memory"] == 32 << 20
    while b"up" not in container.logs():
        time.sleep(0.05)
    container.stop()
    assert container.wait() == {"StatusCode": 8}, container.wait()
    container.start()
    container.restart(timeout=0)
    container.exec_run("touch /tmp/new")
    changes = {change["Path"]: change["Kind"] for change in container.diff() or []}
    container.kill()
    assert container.wait()["StatusCode"] == 137
    assert changes.get("/tmp/new") in (None, 1), changes
    error = refused(409, "already in use", lambda: client.containers.create(IMAGE, "true", name="two", network_mode="none"))
    assert error.is_client_error()
    assert [found.name for found in client.containers.list(all=True, filters={"name": "two"})] == ["two"]
    container.remove()
    refused(404, "No such container", container.reload)


def images():
    image = client.images.get(IMAGE)
    name = f"{REGISTRY}/py/bb"
    assert image.tag(name, "1")
    pushed = list(client.images.push(name, tag="1", stream=True, decode=True))
    assert not [line for line in pushed if "error" in line], pushed
    digest = [line["aux"]["Digest"] for line in pushed if "aux" in line]
    assert digest and digest[0].startswith("sha256:"), pushed
    client.images.remove(f"{name}:1")
    pulled = client.images.pull(name, tag="1")
    assert pulled.id == image.id and f"{name}:1" in pulled.tags, pulled.tags
    assert client.images.get_registry_data(f"{name}:1").id == digest[0]
    saved = b"".join(pulled.save(named=True))
    assert client.images.load(saved)[0].id == image.id
    assert pulled.history()[0]["Id"] == image.id
    for missing in (lambda: client.images.get("nobody/none:1"), lambda: client.images.pull(name, tag="2")):
        try:
            missing()
            raise AssertionError("an image that is not there was found")
        except (ImageNotFound, NotFound):
            pass
    client.images.remove(f"{name}:1")


def builds():
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("Dockerfile")
        member.size = 13
        tar.addfile(member, io.BytesIO(b"FROM busybox\n"))
    archive.seek(0)
    refused(501, "build", lambda: client.images.build(fileobj=archive, custom_context=True))


def volumes():
    volume = client.volumes.create("data", labels={"a": "b"})
    mount = {"data": {"bind": "/data", "mode": "rw"}}
    client.containers.run(IMAGE, ["sh", "-c", "echo kept >/data/file"], volumes=mount, network_mode="none", remove=True)
    output = client.containers.run(IMAGE, "cat /data/file", volumes=mount, network_mode="none", remove=True)
    assert output == b"kept\n"
    holder = sh("exec sleep 1000", volumes=mount)
    refused(409, "in use", volume.remove)
    holder.remove(force=True)
    volume.remove()
    assert client.volumes.list() == []


CASES = [system, runs, attaches, executes, follows, listens, copies, measures, lives, images, builds, volumes]

if __name__ == "__main__":
    failed = 0
    for case in CASES:
        try:
            case()
            print("ok", case.__name__, flush=True)
        except Exception as error:  # every case is tried, and each tells where it failed
            failed += 1
            line = error.__traceback__.tb_next.tb_lineno if error.__traceback__.tb_next else 0
            print("failed", case.__name__, f"line {line}:", repr(error), flush=True)
    sys.exit(failed)
