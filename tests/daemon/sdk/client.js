// dockerode against the daemon: each function is a case, and prints its name when it holds.
'use strict';

const assert = require('assert/strict');
const { PassThrough } = require('stream');
const { once } = require('events');
const Docker = require('dockerode');
const tar = require('tar-stream');

const IMAGE = 'busybox';
const REGISTRY = process.env.TEST_REGISTRY;
const docker = new Docker();

// A container, not started.
const create = (script, options = {}) =>
  docker.createContainer({
    Image: IMAGE,
    Cmd: ['sh', '-c', script],
    ...options,
    HostConfig: { NetworkMode: 'none', ...options.HostConfig },
  });

async function start(script, options) {
  const container = await create(script, options);
  await container.start();
  return container;
}

// Everything a stream gives.
async function whole(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces).toString();
}

// Output and errors of a multiplexed stream, to its end.
async function apart(stream) {
  const [out, err] = [new PassThrough(), new PassThrough()];
  docker.modem.demuxStream(stream, out, err);
  stream.on('end', () => [out, err].forEach((side) => side.end()));
  return Promise.all([whole(out), whole(err)]);
}

const refused = (call, status, words) =>
  assert.rejects(call, (error) => {
    assert.equal(error.statusCode, status, String(error));
    assert.match(error.json?.message ?? error.message, words);
    return true;
  });

// Follows progress to its end.
const progress = (stream) =>
  new Promise((resolve, reject) =>
    docker.modem.followProgress(stream, (error, lines) => (error ? reject(error) : resolve(lines)))
  );

function archive(entries) {
  const pack = tar.pack();
  for (const [header, text] of entries) pack.entry(header, text);
  pack.finalize();
  return pack;
}

const cases = {
  async system() {
    assert.equal((await docker.ping()).toString(), 'OK');
    assert.ok((await docker.version()).ApiVersion);
    assert.equal((await docker.info()).OSType, 'linux');
    assert.ok((await docker.listNetworks()).some((network) => network.Name === 'none'));
  },

  async runs() {
    const out = new PassThrough();
    const said = whole(out);
    const options = { HostConfig: { NetworkMode: 'none', AutoRemove: true }, Tty: false };
    const [end] = await docker.run(IMAGE, ['sh', '-c', 'echo hello; exit 3'], out, options);
    assert.equal(end.StatusCode, 3);
    // The stream ends what it is piped into, which may be after the word of the container's end.
    assert.match(await said, /hello\n/);
  },

  async attaches() {
    const container = await create('cat; echo err >&2', { OpenStdin: true, StdinOnce: true });
    const ways = { stream: true, stdin: true, stdout: true, stderr: true, hijack: true };
    const stream = await container.attach(ways);
    const said = apart(stream);
    await container.start();
    stream.write('first ');
    stream.end('last\n');
    assert.deepEqual(await said, ['first last\n', 'err\n']);
    assert.deepEqual(await container.wait(), { StatusCode: 0 });
    await container.remove();
  },

  async executes() {
    const container = await start('exec sleep 1000');
    const options = { AttachStdout: true, AttachStderr: true, AttachStdin: true };
    const script = 'cat; echo err >&2; exit 4';
    const exec = await container.exec({ Cmd: ['sh', '-c', script], ...options });
    const stream = await exec.start({ hijack: true, stdin: true });
    stream.end('typed\n');
    assert.deepEqual(await apart(stream), ['typed\n', 'err\n']);
    assert.equal((await exec.inspect()).ExitCode, 4);
    const bad = await container.exec({ Cmd: ['true'], User: 'nobody-here', AttachStdout: true });
    // It is told in the stream, as the connection is no longer HTTP's when it is known.
    const [out, err] = await apart(await bad.start({ hijack: true }));
    assert.match(out + err, /nobody-here/);
    await container.remove({ force: true });
    await refused(() => container.inspect(), 404, /No such container/);
  },

  async follows() {
    const container = await start('for i in 1 2 3; do echo line-$i; sleep 0.2; done');
    const stream = await container.logs({ follow: true, stdout: true, stderr: true });
    const [out] = await apart(stream);
    assert.equal(out, 'line-1\nline-2\nline-3\n');
    const last = await container.logs({ stdout: true, tail: 1 });
    assert.equal(last.subarray(8).toString(), 'line-3\n');
    await container.remove();
  },

  async listens() {
    const filters = { type: ['container'], label: ['heard=yes'] };
    const stream = await docker.getEvents({ filters });
    const actions = [];
    let rest = '';
    const heard = new Promise((resolve) =>
      stream.on('data', (piece) => {
        const lines = (rest + piece).split('\n');
        rest = lines.pop();
        for (const line of lines.filter(Boolean)) actions.push(JSON.parse(line).Action);
        if (actions.includes('destroy')) resolve();
      })
    );
    const container = await start('exit 6', { Labels: { heard: 'yes' } });
    assert.deepEqual(await container.wait(), { StatusCode: 6 });
    await container.remove();
    await heard;
    stream.destroy();
    assert.deepEqual(actions, ['create', 'start', 'die', 'destroy']);
  },

  async copies() {
    const container = await start('exec sleep 1000');
    await container.putArchive(archive([[{ name: 'a/file', mode: 0o640, uid: 7 }, 'bytes']]), { path: '/tmp' });
    const extract = tar.extract();
    (await container.getArchive({ path: '/tmp/a/file' })).pipe(extract);
    const [header, entry] = await once(extract, 'entry');
    assert.deepEqual([header.name, header.uid, header.mode], ['file', 7, 0o640]);
    assert.equal(await whole(entry), 'bytes');
    await refused(() => container.getArchive({ path: '/nowhere' }), 404, /nowhere/);
    await container.remove({ force: true });
  },

  async measures() {
    const container = await start('exec sleep 1000', { HostConfig: { Memory: 64 << 20 } });
    const stats = await container.stats({ stream: false });
    assert.equal(stats.memory_stats.limit, 64 << 20);
    assert.equal((await container.top({ ps_args: '-eo pid,args' })).Processes[0][1], 'sleep 1000');
    const stream = await container.stats({ stream: true });
    const [first] = await once(stream, 'data');
    assert.equal(JSON.parse(first).pids_stats.current, 1);
    stream.destroy();
    await container.remove({ force: true });
  },

  async terminals() {
    const container = await create('stty size; read x; echo got $x', { Tty: true, OpenStdin: true });
    const stream = await container.attach({ stream: true, stdin: true, stdout: true, hijack: true });
    let seen = '';
    stream.on('data', (piece) => (seen += piece));
    const ended = once(stream, 'end');
    await container.start();
    await container.resize({ h: 30, w: 100 });
    stream.write('y\n');
    await container.wait();
    await ended;
    assert.match(seen, /got y\r\n/);
    await container.remove();
  },

  async images() {
    const name = `${REGISTRY}/js/bb`;
    const image = docker.getImage(IMAGE);
    const { Id } = await image.inspect();
    await image.tag({ repo: name, tag: '1' });
    const copy = docker.getImage(`${name}:1`);
    await progress(await copy.push({}));
    await copy.remove();
    await refused(() => copy.inspect(), 404, /[Nn]o such image/);
    const lines = await progress(await docker.pull(`${name}:1`));
    assert.ok(lines.some((line) => /Downloaded newer image/.test(line.status)), JSON.stringify(lines));
    assert.equal((await copy.inspect()).Id, Id);
    await refused(() => docker.pull(`${name}:2`), 404, /manifest unknown/);
    await copy.remove();
    const missing = { Image: 'nobody/none:1', Cmd: ['true'], HostConfig: { NetworkMode: 'none' } };
    await refused(() => docker.createContainer(missing), 404, /No such image/);
  },

  async builds() {
    const context = archive([[{ name: 'Dockerfile' }, 'FROM busybox\n']]);
    await refused(() => docker.buildImage(context, { t: 'built' }), 501, /build/);
  },
};

// A case that waits for what never comes ends the program: that is no success.
process.exitCode = 1;
(async () => {
  let failed = 0;
  for (const [name, run] of Object.entries(cases)) {
    try {
      await run();
      console.log('ok', name);
    } catch (error) {
      failed += 1;
      console.log('failed', name, error.stack ?? error);
    }
  }
  process.exit(failed);
})();
